{#- Not by ref: these are built after this, from what this finds. None on the first run. -#}
{%- set parsed_events, wrong_clocks = built('int_parsed_events'), built('int_wrong_clocks') -%}
{%- set sessions, session_days = built('int_sessions'), built('int_session_days') -%}
{%- set no_session = 'cast(null as ' ~ warehouse_type('varchar') ~ ') as full_session_id' -%}
{%- set event_batch = ref('event_batch') %}

-- Asked of events: a nulling row may lack the session that its event had. And of what was made of them before: a newer
-- version may say another session. As a killed build may have made that anew already, rows stay until a build is green.
with places as (
    select
        {{ full_session_id('events') }} as full_session_id,
        {{ believed_time('events') }} as event_time
    from {{ ref('events') }} as events
    inner join {{ event_batch }} as batch on events.event_id = batch.event_id
    where {{ batch_days('events.event_time') }}
    {%- if parsed_events %}
    union all
    select
        parsed.full_session_id,
        parsed.event_time
    from {{ parsed_events }} as parsed
    inner join {{ event_batch }} as batch on parsed.event_id = batch.event_id
    where {{ batch_days('parsed.event_time') }}
    {%- endif %}
    {%- if wrong_clocks %}
    union all
    select
        {{ full_session_id('clocks') }} as full_session_id,
        clocks.event_time
    from {{ wrong_clocks }} as clocks
    inner join {{ event_batch }} as batch on clocks.event_id = batch.event_id
    where {{ batch_days('clocks.device_time') }}
    {%- endif %}
),

touched as (
    select distinct
        full_session_id,
        {{ local_day('event_time') }} as day,
        {{ utc_day('event_time') }} as first_day,
        {{ utc_day('event_time') }} as last_day
    from places
    where
        full_session_id is not null
        or event_time is not null
)

select * from touched
{%- if sessions %}
union all
-- The days of a session as it was: all its other events, and what was made of it, lie on them.
select
    sessions.full_session_id,
    cast(null as date) as day,
    {{ utc_day('sessions.start_time') }} as first_day,
    {{ utc_day('sessions.end_time') }} as last_day
from {{ sessions }} as sessions
where sessions.full_session_id in (select touched.full_session_id from touched)
{%- endif %}

{%- if requests() %}
{%- for days in (-1, 0, 1) %}
union all
-- By the zone that reporting_timezone named before, an event may have been on the day before or after.
select distinct
    {{ no_session }},
    cast({{ dbt.dateadd('day', days, 'touched.first_day') }} as date) as day,
    touched.first_day,
    touched.last_day
from touched
where touched.first_day is not null
{%- endfor %}
{%- if session_days %}
union all
-- The days of a session whose row was lost.
select
    session_days.full_session_id,
    cast(null as date) as day,
    cast({{ dbt.dateadd('day', -1, 'session_days.day') }} as date) as first_day,
    cast({{ dbt.dateadd('day', 1, 'session_days.day') }} as date) as last_day
from {{ session_days }} as session_days
where session_days.full_session_id in (select touched.full_session_id from touched)
{%- endif %}
{%- endif %}
