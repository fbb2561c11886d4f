#!/bin/sh
# The tests' peers and validators from Debian: Orthanc as PACS, dcmtk as scanner, dciodvfy as judge;
# g++ compiles networks.
set -eu
missing=""
for tool in Orthanc storescu dsrdump dciodvfy dcentvfy g++; do
    PATH="$PATH:/usr/sbin" command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends orthanc dcmtk dicom3tools g++ >/dev/null
    exit 0
fi
echo "The tests need$missing. On Debian: sudo apt-get install orthanc dcmtk dicom3tools g++" >&2
exit 1
