with counts as (
    select
        definitions_of_sessions.day,
        definitions_of_sessions.event_definition_id,
        definitions_of_sessions.full_session_id,
        definitions_of_sessions.events,
        sessions.user_id
    from {{ ref('int_session_definitions') }} as definitions_of_sessions
    inner join {{ ref('sessions') }} as sessions
        on definitions_of_sessions.full_session_id = sessions.full_session_id
),

totals as (
    select
        day,
        event_definition_id,
        {{ total('events') }} as total_events,
        count(*) as sessions,
        count(distinct user_id) as users
    from counts
    group by day, event_definition_id
)

select
    totals.day,
    'event' as kind,
    totals.event_definition_id as definition_id,
    definitions.name as definition_name,
    totals.total_events as events,
    totals.users,
    totals.sessions
from totals
left join {{ ref('event_definitions') }} as definitions on totals.event_definition_id = definitions.id
