with happened as (
    select
        {{ local_day('events.event_time') }} as day,
        coalesce(events.event_name, '(not set)') as event_name,
        events.full_session_id,
        {{ person('events') | indent(8) }} as user_id
    from {{ ref('int_parsed_events') }} as events
    {{ with_person('events') | indent(4) }}
    where
        events.event_type = 'custom'
        and {{ is_of_person('events') }}
        and events.event_time is not null
)

select
    day,
    event_name,
    count(*) as events,
    count(distinct user_id) as users,
    count(distinct full_session_id) as sessions
from happened
group by day, event_name
