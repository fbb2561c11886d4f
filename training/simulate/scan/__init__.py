"""What scans of CT and MR share: contrast bolus, enhancement, motion, sampling."""
