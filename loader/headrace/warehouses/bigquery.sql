-- Run as an owner of the project. Each of the three needs to run jobs, too, which SQL can't grant:
--   gcloud projects add-iam-policy-binding ${database} --member='${loader}' --role=roles/bigquery.jobUser
--   gcloud projects add-iam-policy-binding ${database} --member='${dbt}' --role=roles/bigquery.jobUser
--   gcloud projects add-iam-policy-binding ${database} --member='${reader}' --role=roles/bigquery.jobUser
create schema if not exists `${database}`.`${schema}`;
create schema if not exists `${database}`.`${schema}_analysis`;
create schema if not exists `${database}`.`${schema}_marts`;

-- The loader makes its tables in the dataset of staging; dbt makes the others, and empties the queue.
grant `roles/bigquery.dataEditor` on schema `${database}`.`${schema}` to "${loader}", "${dbt}";
grant `roles/bigquery.dataEditor` on schema `${database}`.`${schema}_analysis` to "${dbt}";
grant `roles/bigquery.dataEditor` on schema `${database}`.`${schema}_marts` to "${dbt}";

-- Readers see what is published. Its views read ${schema}: authorize both datasets there (Sharing > Authorize datasets),
-- or readers would need access to staging.
grant `roles/bigquery.dataViewer` on schema `${database}`.`${schema}_analysis` to "${reader}";
grant `roles/bigquery.dataViewer` on schema `${database}`.`${schema}_marts` to "${reader}";

-- The tables of the contract lie in the dataset of staging, whose other tables are not for readers. They can be granted when
-- they are there, after the first build, and stay granted:
--   grant `roles/bigquery.dataViewer` on table `${database}`.`${schema}`.events to "${reader}";
--   and likewise event_definitions, page_definitions and element_definitions.
