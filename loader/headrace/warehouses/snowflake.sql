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

-- dbt reads staging, and empties the queue when a build is green.
grant usage, create table, create view on schema ${database}.${schema} to role ${dbt};
grant select, insert, update, delete on all tables in schema ${database}.${schema} to role ${dbt};
grant select, insert, update, delete on future tables in schema ${database}.${schema} to role ${dbt};
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

-- Then give the roles to users: grant role ${loader} to user ...;
