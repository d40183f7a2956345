#!/usr/bin/env bash
# Fetch Delta's jars for Spark with Maven: Spark's own resolver ignores Maven's settings (mirrors, proxies).
# Usage: fetch_spark_jars.sh [FOLDER]   (default .local/spark-jars)
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.local/spark-jars}
version=$(sed -n 's/^delta-spark==\([0-9.]*\).*/\1/p' requirements-spark.txt)

if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "Java 17 and Maven are needed to fetch Delta's jars for Spark (Debian: openjdk-17-jre-headless, maven)." >&2
    exit 1
fi
mkdir -p "$folder"
for name in delta-spark_2.12 delta-storage; do
    if [ ! -s "$folder/$name-$version.jar" ]; then
        echo "Fetching $name $version ..."
        rm -f "$folder/$name"-*.jar # another version beside it would be loaded too
        mvn -q -B dependency:copy -Dartifact="io.delta:$name:$version" -DoutputDirectory="$folder"
    fi
done
