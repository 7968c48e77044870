-- Run as a role that may create roles and manage grants, such as ACCOUNTADMIN, or SECURITYADMIN that owns the database.
create role if not exists ${loader};
create role if not exists ${dbt};
create role if not exists ${reader};
create schema if not exists ${database}.${schema};
create schema if not exists ${database}.${schema}_analysis;
create schema if not exists ${database}.${schema}_marts;
grant usage on warehouse ${warehouse} to role ${loader};
grant usage on warehouse ${warehouse} to role ${dbt};
grant usage on warehouse ${warehouse} to role ${reader};
grant usage on database ${database} to role ${loader};
grant usage on database ${database} to role ${dbt};
grant usage on database ${database} to role ${reader};

-- The loader owns the tables that it makes in the schema of staging, and reads what dbt makes there.
grant usage, create table on schema ${database}.${schema} to role ${loader};
grant select on all tables in schema ${database}.${schema} to role ${loader};
grant select on future tables in schema ${database}.${schema} to role ${loader};

-- dbt reads staging, and empties the queue when a build is green. What it makes itself it owns.
grant usage, create table, create view on schema ${database}.${schema} to role ${dbt};
grant select, update, delete on all tables in schema ${database}.${schema} to role ${dbt};
grant select, update, delete on future tables in schema ${database}.${schema} to role ${dbt};
grant usage, create table, create view on schema ${database}.${schema}_analysis to role ${dbt};
grant usage, create table, create view on schema ${database}.${schema}_marts to role ${dbt};

-- Readers see what is published.
grant usage on schema ${database}.${schema}_analysis to role ${reader};
grant usage on schema ${database}.${schema}_marts to role ${reader};
grant select on all tables in schema ${database}.${schema}_analysis to role ${reader};
grant select on all tables in schema ${database}.${schema}_marts to role ${reader};
grant select on all views in schema ${database}.${schema}_analysis to role ${reader};
grant select on all views in schema ${database}.${schema}_marts to role ${reader};
grant select on future tables in schema ${database}.${schema}_analysis to role ${reader};
grant select on future tables in schema ${database}.${schema}_marts to role ${reader};
grant select on future views in schema ${database}.${schema}_analysis to role ${reader};
grant select on future views in schema ${database}.${schema}_marts to role ${reader};

-- The tables of the contract lie in the schema of staging, whose other tables are not for readers. They can be granted when
-- they are there, after the first build, and stay granted:
--   grant usage on schema ${database}.${schema} to role ${reader};
--   grant select on table ${database}.${schema}.events to role ${reader};
--   and likewise event_definitions, page_definitions and element_definitions.

-- Then give the roles to users: grant role ${loader} to user ...;
