# What the image of PostgreSQL does when it starts: a new folder is set up, scripts are run, the server listens.
set -euo pipefail
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
    eval "initdb --username=postgres --pwfile=/tmp/password --pgdata=$data ${POSTGRES_INITDB_ARGS:-}"
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    pg_ctl --pgdata="$data" --wait --options="-c listen_addresses='' -c unix_socket_directories=/run/postgresql" start
    for script in /docker-entrypoint-initdb.d/*.sql; do
        psql --host=/run/postgresql --username=postgres --dbname=postgres --no-psqlrc \
            --set=ON_ERROR_STOP=1 --no-password --file="$script"
    done
    pg_ctl --pgdata="$data" --wait stop
fi
[ "${1:-postgres}" = postgres ]
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql "${@:2}"
