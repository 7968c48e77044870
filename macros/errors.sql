{# What went wrong in sessions of people: exceptions, crashes and errors on the console. #}

{% macro errors_of_people() -%}
    select
        {{ local_day('events.event_time') }} as day,
        events.event_time,
        events.full_session_id,
        people.user_id,
        people.platform,
        case events.event_type when 'console_message' then 'console error' else events.event_type end as kind,
        case when events.event_type <> 'crash' then events.message end as message,
        case when events.event_type = 'exception' then events.exception_source_file end as source_file,
        case
            when events.event_type = 'crash' then 1
            when events.event_type = 'exception' and not coalesce(events.is_exception_handled, true) then 1
            else 0
        end as is_unhandled
    from {{ ref('int_parsed_events') }} as events
    inner join {{ ref('int_sessions_of_people') }} as people on events.full_session_id = people.full_session_id
    where
        {{ is_in_session('events') }}
        and events.event_time is not null
        and (
            events.event_type in ('exception', 'crash')
            or (events.event_type = 'console_message' and lower(events.console_message_level) = 'error')
        )
{%- endmacro %}
