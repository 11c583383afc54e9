(() => {
  "use strict";
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const config = (small) => ({
    displaylogo: false, responsive: true, displayModeBar: small ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    showSendToCloud: false, plotlyServerURL: "",  // a button of plotly's would upload the data
  });

  // Fonts, grid and background come from the page, so that plots follow light and dark.
  function template(small) {
    const axis = {
      gridcolor: css("--grid"), zerolinecolor: css("--line"), linecolor: css("--line"), tickcolor: css("--line"),
      title: { font: { size: 12 }, standoff: 6 }, tickfont: { size: small ? 10 : 11 }, nticks: small ? 5 : 0,
    };
    return { layout: {
      font: { family: getComputedStyle(document.body).fontFamily, color: css("--soft"), size: 12 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      margin: small ? { l: 34, r: 8, t: 8, b: 24 } : { l: 48, r: 16, t: 32, b: 40 },
      legend: small
        ? { orientation: "h", y: -0.14, yanchor: "top", x: 0, font: { size: 10 } }
        : { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--text"), size: 12 } },
    } };
  }

  const drawn = new Set();
  function draw(plot) {
    if (drawn.has(plot)) return;
    if (plot.offsetParent === null) { seen.observe(plot); return; }  // hidden meanwhile, in a tab or a fold
    drawn.add(plot);
    const small = plot.classList.contains("small");
    const spec = JSON.parse(plot.querySelector("script").textContent);
    const canvas = plot.querySelector(".canvas");
    Plotly.newPlot(canvas, spec.data, { ...spec.layout, template: template(small) }, config(small));
  }

  const plots = [...document.querySelectorAll("figure.plot")];
  // One plot a task: the page stays responsive however many come into view at once.
  const waiting = [];
  function work() {
    draw(waiting.shift());
    if (waiting.length) setTimeout(work);
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      if (waiting.push(entry.target) === 1) setTimeout(work);
    }
  }, { rootMargin: "600px" });
  plots.forEach((plot) => seen.observe(plot));
  window.addEventListener("beforeprint", () => plots.forEach(draw));

  function repaint() {
    for (const plot of drawn) {
      Plotly.relayout(plot.querySelector(".canvas"), { template: template(plot.classList.contains("small")) });
    }
  }
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", repaint);
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    repaint();
  });
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
    document.querySelectorAll("video").forEach((video) => { video.autoplay = false; video.pause(); });
  }
})();
