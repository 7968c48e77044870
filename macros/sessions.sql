{% macro live_events(sessions) -%}
    {%- set event_batch = ref('event_batch') -%}
    {%- set touched_sessions = ref('touched_sessions') -%}
    select
        events.*,
        {{ full_session_id('events') }} as full_session_id
    from {{ ref('events') }} as events
    {%- if is_incremental() %}
    {#- A live event is either of the batch or lies within its session as we know it. #}
    {%- set days_of_touched_sessions -%}
        {{ days_in('event_time', event_batch) }}
        union
        select
            {{ utc_day('sessions.start_time') }} as first_day,
            {{ utc_day('sessions.end_time') }} as last_day
        from {{ sessions }} as sessions
        inner join {{ touched_sessions }} as touched on sessions.full_session_id = touched.full_session_id
    {%- endset %}
    inner join {{ touched_sessions }} as touched
        on events.device_id = touched.device_id and events.session_id = touched.session_id
    {%- endif %}
    where
        events.event_type is not null
        and events.device_id is not null
        and events.session_id is not null
        {%- if is_incremental() %}
        and {{ day_ranges('events.event_time', days_of_touched_sessions) }}
        {%- endif %}
{%- endmacro %}


{% macro full_session_id(relation) -%}
    {{ dbt.concat([
        'cast(' ~ relation ~ '.device_id as ' ~ dbt.type_string() ~ ')',
        "':'",
        'cast(' ~ relation ~ '.session_id as ' ~ dbt.type_string() ~ ')',
    ]) }}
{%- endmacro %}
