{{ config(materialized='table') }}

-- Asked of events: a nulling row may lack the session that its event had.
select distinct
    events.device_id,
    {{ full_session_id('events') }} as full_session_id
from {{ ref('events') }} as events
inner join {{ ref('event_batch') }} as batch on events.event_id = batch.event_id
where
    events.device_id is not null
    and events.session_id is not null
    and {{ batch_days('events.event_time') }}
