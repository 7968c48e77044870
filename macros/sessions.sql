{% macro live_events(sessions) -%}
    {%- set event_batch = ref('event_batch') -%}
    {%- set touched_sessions = ref('touched_sessions') -%}
    select events.*
    from {{ ref('int_parsed_events') }} as events
    {%- if is_incremental() %}
    {#- A live event is either of the batch or lies within its session as we know it. #}
    {%- set days_of_touched_sessions -%}
        {{ days_in('event_time', event_batch) }}
        union all
        select
            {{ utc_day('sessions.start_time') }} as first_day,
            {{ utc_day('sessions.end_time') }} as last_day
        from {{ sessions }} as sessions
        inner join {{ touched_sessions }} as touched on sessions.full_session_id = touched.full_session_id
    {%- endset %}
    inner join {{ touched_sessions }} as touched on events.full_session_id = touched.full_session_id
    {%- endif %}
    where
        {{ is_in_session('events') }}
        {%- if is_incremental() %}
        and {{ day_ranges('events.event_time', days_of_touched_sessions) }}
        {%- endif %}
{%- endmacro %}


{% macro live_events_of_days() -%}
    {%- set touched_days = ref('touched_days') -%}
    select
        events.*,
        {{ local_day('events.event_time') }} as day
    from {{ ref('int_parsed_events') }} as events
    where
        {{ is_in_session('events') }}
        and events.event_time is not null
        {%- if is_incremental() %}
        {#- A local day lies within three days of UTC, whatever the zone. #}
        {%- set margin = 0 if var('reporting_timezone') == 'UTC' else 1 %}
        {%- set spans -%}
            select
                cast({{ dbt.dateadd('day', -margin, 'day') }} as date) as first_day,
                cast({{ dbt.dateadd('day', margin, 'day') }} as date) as last_day
            from {{ touched_days }}
        {%- endset %}
        and {{ local_day('events.event_time') }} in (select touched.day from {{ touched_days }} as touched)
        and {{ day_ranges('events.event_time', spans) }}
        {%- endif %}
{%- endmacro %}


{% macro is_in_session(relation) -%}
    {{ relation }}.full_session_id is not null
        and {{ is_late_enough(relation ~ '.event_time') }}
{%- endmacro %}


{% macro is_late_enough(column) -%}
    {%- if var('fullstory_min_event_time') -%}
        {{ column }} >= {{ timestamptz(var('fullstory_min_event_time')) }}
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}


{% macro full_session_id(relation) -%}
    {{ dbt.concat([
        'cast(' ~ relation ~ '.device_id as ' ~ dbt.type_string() ~ ')',
        "':'",
        'cast(' ~ relation ~ '.session_id as ' ~ dbt.type_string() ~ ')',
    ]) }}
{%- endmacro %}


{% macro user_of_device(identities, relation) -%}
    coalesce(
        {{ identities }}.user_id,
        {{ dbt.concat(["'anon_'", 'cast(' ~ relation ~ '.device_id as ' ~ dbt.type_string() ~ ')']) }}
    )
{%- endmacro %}


{% macro last_of_device(devices) -%}
    {%- set last_columns = {
        'user_agent': 'last_device_user_agent',
        'type': 'last_device_type',
        'operating_system': 'last_device_operating_system',
        'browser': 'last_device_browser',
        'browser_version': 'last_device_browser_version',
        'geo_ip_address': 'last_geo_ip_address',
        'geo_country': 'last_geo_country',
        'geo_region': 'last_geo_region',
        'geo_city': 'last_geo_city',
        'geo_lat_long': 'last_geo_lat_long',
        'event_time': 'last_event_time',
    } -%}
    {%- for column, name in last_columns.items() -%}
        {{ devices }}.{{ column }} as {{ name }},
{% endfor -%}
    {{ devices }}.event_id as last_event_id
{%- endmacro %}


{% macro page_id() -%}
    case
        when page_definition_id is not null then page_definition_id
        when url_host is not null or url_path is not null
            then {{ dbt.concat(["coalesce(url_host, '')", "coalesce(url_path, '')"]) }}
    end
{%- endmacro %}


{% test unique_in_touched(model, columns, touched) %}
select {{ columns | join(', ') }}
from {{ model }}
where {{ columns[0] }} in (select {{ columns[0] }} from {{ touched }})
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}


{% test known_in_touched(model, column_name, to, touched) %}
select {{ column_name }}
from {{ model }}
where
    {{ column_name }} in (select {{ column_name }} from {{ touched }})
    and {{ column_name }} not in (select {{ column_name }} from {{ to }})
{% endtest %}
