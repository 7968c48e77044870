with happened as (
    select
        {{ local_day('events.event_time') }} as day,
        coalesce(events.event_name, '(not set)') as event_name,
        events.full_session_id,
        {{ person() | indent(8) }} as user_id
    {{ of_people('custom') | indent(4) }}
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
