{{ config(
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='events_table',
    on_schema_change='append_new_columns',
    enabled=var('managed_events') is not none
) }}

select
    '{{ managed_events() }}' as events_table,
    {%- if is_incremental() %}
    (select max(merged_until) from {{ this }} where events_table = '{{ managed_events() }}') as merged_until,
    {%- else %}
    cast(null as {{ type_timestamptz() }}) as merged_until,
    {%- endif %}
    max(updated_time) as batch_until
from {{ ref('events') }}
