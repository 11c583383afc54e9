"""The link to Unitree's quadrupeds over DDS; needs CycloneDDS (``pip install robodistill[dds]``)."""
