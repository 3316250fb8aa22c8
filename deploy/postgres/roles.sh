#!/bin/sh
# Run once by the PostgreSQL image on an empty data folder: a database and an ordinary role for each
# service. None of them is a superuser, or row-level security would not hold for it. psql reads the
# passwords itself, so that none is on a command line.
set -eu
for service in registry dispatch reporting; do
	psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set service="$service" \
		--set secrets="${SECRETS:-/run/secrets}" --username "$POSTGRES_USER" <<-'SQL'
		\set password `cat :secrets/:service-password`
		CREATE ROLE :"service" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'password';
		CREATE DATABASE :"service" OWNER :"service";
		REVOKE CONNECT ON DATABASE :"service" FROM PUBLIC;
	SQL
done
