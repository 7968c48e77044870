with failed as (
    {{ errors_of_people() }}
),

totals as (
    select
        day,
        kind,
        message,
        source_file,
        count(*) as events,
        {{ total('is_unhandled') }} as unhandled_events,
        count(distinct full_session_id) as sessions,
        count(distinct user_id) as users
    from failed
    group by day, kind, message, source_file
)

select
    totals.day,
    {{ hash_of(['totals.kind', 'totals.message', 'totals.source_file']) }} as error_id,
    totals.kind,
    totals.message,
    totals.source_file,
    totals.events,
    totals.unhandled_events,
    totals.sessions,
    totals.users
from totals
