-- Run as a superuser. Loader and dbt are users, since default privileges on Redshift go by the user who makes a table.
create user ${loader} password disable;
create user ${dbt} password disable;
create role ${reader};
create schema if not exists ${schema};
create schema if not exists ${schema}_analysis;
create schema if not exists ${schema}_marts;

-- dlt and dbt look for schemas, and make those that are missing: these are there.
-- The loader owns the tables that it makes in the schema of staging, and reads what dbt makes there.
grant usage, create on schema ${schema} to ${loader};
grant select on all tables in schema ${schema} to ${loader};
alter default privileges for user ${dbt} in schema ${schema} grant select on tables to ${loader};

-- dbt reads staging, and empties the queue when a build is green. What it makes itself it owns.
grant usage, create on schema ${schema} to ${dbt};
grant select, update, delete on all tables in schema ${schema} to ${dbt};
alter default privileges for user ${loader} in schema ${schema} grant select, update, delete on tables to ${dbt};
grant usage, create on schema ${schema}_analysis to ${dbt};
grant usage, create on schema ${schema}_marts to ${dbt};

-- Readers see what is published, and in the schema of staging what dbt makes, such as events: not the queue, and not
-- what was rejected. What was there before this ran wants a grant of its own (grant select on ${schema}.events to …).
grant usage on schema ${schema} to role ${reader};
alter default privileges for user ${dbt} in schema ${schema} grant select on tables to role ${reader};
grant usage on schema ${schema}_analysis to role ${reader};
grant usage on schema ${schema}_marts to role ${reader};
grant select on all tables in schema ${schema}_analysis to role ${reader};
grant select on all tables in schema ${schema}_marts to role ${reader};
alter default privileges for user ${dbt} in schema ${schema}_analysis grant select on tables to role ${reader};
alter default privileges for user ${dbt} in schema ${schema}_marts grant select on tables to role ${reader};

-- Then let the users log in (alter user ${loader} password '...'; or IAM), and grant role ${reader} to who reads.
