-- Runs once, when the volume of the databases is empty.
-- Everyone gets a role and databases of its own: who can write the ledger decides what a driver loads.
\getenv evolve_password EVOLVE_DB_PASSWORD
\getenv mlflow_password MLFLOW_DB_PASSWORD
CREATE ROLE evolve LOGIN PASSWORD :'evolve_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE evolve OWNER evolve;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
REVOKE CONNECT ON DATABASE evolve, mlflow, mlflow_auth, postgres FROM PUBLIC;
