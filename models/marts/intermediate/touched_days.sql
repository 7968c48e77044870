{{ config(materialized='table') }}

select distinct {{ local_day('events.event_time') }} as day
from {{ ref('events') }} as events
inner join {{ ref('event_batch') }} as batch on events.event_id = batch.event_id
where
    events.event_time is not null
    and {{ batch_days('events.event_time') }}
