with failed as (
    {{ errors_of_people() }}
),

totals as (
    select
        kind,
        message,
        source_file,
        min(event_time) as first_time,
        max(event_time) as last_time,
        count(*) as events,
        {{ total('is_unhandled') }} as unhandled_events,
        count(distinct full_session_id) as sessions,
        count(distinct user_id) as users
    from failed
    group by kind, message, source_file
)

select
    {{ hash_of(['totals.kind', 'totals.message', 'totals.source_file']) }} as error_id,
    totals.kind,
    totals.message,
    totals.source_file,
    totals.first_time,
    totals.last_time,
    totals.events,
    totals.unhandled_events,
    totals.sessions,
    totals.users
from totals
