{{ config(materialized='table') }}

select distinct {{ local_day('event_time') }} as day
from {{ ref('event_batch') }}
where event_time is not null
