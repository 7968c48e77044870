{{ config(materialized='table') }}

{{ dbt.date_spine('day', "cast('2025-01-01' as date)", "cast('2031-01-01' as date)") }}
