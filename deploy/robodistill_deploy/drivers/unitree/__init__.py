"""The link to Unitree's quadrupeds over DDS; needs CycloneDDS (``pip install robodistill[dds]``)."""

from robodistill_deploy.drivers.unitree.go2 import UnitreeDriver

driver = UnitreeDriver
