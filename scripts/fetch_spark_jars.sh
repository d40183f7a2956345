#!/usr/bin/env bash
# Delta's jars for Spark into a folder, through Maven: Spark's own resolver ignores Maven's settings (mirrors, proxies).
set -euo pipefail

FOLDER=${1:-.local/spark-jars}
VERSION=${DELTA_VERSION:-3.3.3} # with its delta-spark in requirements-spark.txt
JARS=("delta-spark_2.12" "delta-storage")

command -v mvn >/dev/null || { echo "mvn is missing; install Maven (and Java 17), then try again" >&2; exit 1; }
mkdir -p "$FOLDER"
for jar in "${JARS[@]}"; do
    if [[ ! -s "$FOLDER/$jar-$VERSION.jar" ]]; then
        echo "Fetching $jar $VERSION ..."
        mvn -q -B dependency:copy -Dartifact="io.delta:$jar:$VERSION" -DoutputDirectory="$FOLDER" \
            -Dmdep.overWriteReleases=false
    fi
done
