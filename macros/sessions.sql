{% macro has_wrong_clock(relation) -%}
    {%- set first_time = timestamptz(var('min_event_time')) -%}
    {%- set ahead = elapsed(relation ~ '.processed_time', relation ~ '.event_time', 'microsecond') ~ ' > 86400000000' -%}
    {%- set behind = relation ~ '.event_time < ' ~ first_time -%}
    (({{ ahead }} or {{ behind }}) and {{ relation }}.processed_time >= {{ first_time }})
{%- endmacro %}


{% macro believed_time(relation) -%}
    case
        when {{ has_wrong_clock(relation) }} then {{ relation }}.processed_time
        else {{ relation }}.event_time
    end
{%- endmacro %}


{% macro live_events() -%}
    {%- set touched = ref('touched') -%}
    select events.*
    from {{ ref('int_parsed_events') }} as events
    where
        {{ is_in_session('events') }}
        {%- if is_incremental() %}
        {#- A live event is either of the batch or lies within its session as we know it. #}
        and events.full_session_id in (select touched.full_session_id from {{ touched }} as touched)
        and {{ day_ranges('events.event_time', spans_of_touched('full_session_id')) }}
        {%- endif %}
{%- endmacro %}


{% macro live_events_of_days() -%}
    {%- set touched = ref('touched') -%}
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
            select distinct
                cast({{ dbt.dateadd('day', -margin, 'day') }} as date) as first_day,
                cast({{ dbt.dateadd('day', margin, 'day') }} as date) as last_day
            from {{ touched }}
            where day is not null
        {%- endset %}
        and {{ local_day('events.event_time') }} in (select touched.day from {{ touched }} as touched)
        and {{ day_ranges('events.event_time', spans) }}
        {%- endif %}
{%- endmacro %}


{% macro session_starts() -%}
    select
        full_session_id,
        start_time
    from {{ ref('int_sessions') }}
    {%- if is_incremental() %}
    where {{ in_touched_sessions('start_time') }}
    {%- endif %}
{%- endmacro %}


{% macro is_live(relation) -%}
    {{ relation }}.event_type is not null
        and {{ is_counted(relation) }}
        and {{ unless_skipped(relation, ['_source_event_id']) }}
{%- endmacro %}


{% macro no_longer_live() -%}
    {%- set event_batch = ref('event_batch') -%}
    from {{ this }}
    where event_id in (select batch.event_id from {{ event_batch }} as batch)
        and event_id not in (
            select events.event_id
            from {{ ref('events') }} as events
            inner join {{ event_batch }} as batch on events.event_id = batch.event_id
            where
                {{ is_live('events') | indent(8) }}
                and {{ batch_days('events.event_time') }}
        )
        and {{ in_touched_days('event_time') }}
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


{% macro is_counted(relation) -%}
    {%- if var('export_until') -%}
        {%- set cut = timestamptz(var('export_until')) -%}
        (
            (coalesce({{ relation }}._is_export, false) and {{ relation }}.event_time < {{ cut }})
            or (
                not coalesce({{ relation }}._is_export, false)
                and ({{ relation }}.event_time >= {{ cut }} or {{ relation }}.event_time is null)
            )
        )
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


{% macro named_user(user_id) -%}
    {%- set nobody = ["''"] -%}
    {%- for id in var('nobody_ids') -%}
        {%- do nobody.append(text_literal(id | string | trim | lower)) -%}
    {%- endfor -%}
    {%- set id = without('lower(' ~ user_id ~ ')', ['^[[:space:]]+', '[[:space:]]+$']) -%}
    case when {{ id }} not in ({{ nobody | join(', ') }}) then {{ user_id }} end
{%- endmacro %}


{% macro user_or_anonymous(user_id, device_id) -%}
    coalesce(
        {{ user_id }},
        {{ dbt.concat(["'anon_'", 'cast(' ~ device_id ~ ' as ' ~ dbt.type_string() ~ ')']) }}
    )
{%- endmacro %}


{% macro with_person(events) -%}
left join {{ ref('int_sessions_of_people') }} as people on {{ events }}.full_session_id = people.full_session_id
left join {{ ref('int_device_identities') }} as identities
    on {{ events }}.device_id = identities.device_id and {{ events }}.full_session_id is null
{{ with_internal_users('identities.user_id') }}
{%- endmacro %}


{% macro is_of_person(events) -%}
    {{ is_late_enough(events ~ '.event_time') }}
        and (
            people.full_session_id is not null
            or (
                {{ events }}.full_session_id is null
                and not coalesce({{ events }}.is_bot, false)
                and not coalesce({{ events }}.is_internal, false)
                and not {{ is_internal_user('identities.user_id', 'known_users.user_email') }}
            )
        )
{%- endmacro %}


{% macro person(events) -%}
    coalesce(people.user_id, {{ user_or_anonymous('identities.user_id', events ~ '.device_id') }})
{%- endmacro %}


{% macro from_last(key, first=none) -%}
    row_number() over (
            partition by {{ key }}
            order by
                {%- if first %}
                {{ first }},
                {%- endif %}
                event_time desc nulls last,
                processed_time desc nulls last,
                event_id desc
        )
{%- endmacro %}


{% macro rank_of_session(key) -%}
    row_number() over (
            partition by {{ key }}
            order by end_time desc nulls last, full_session_id desc
        )
{%- endmacro %}


{% macro last_of_session(sessions) -%}
    {%- set last_columns = {
        'last_user_agent': 'last_device_user_agent',
        'last_device_type': 'last_device_type',
        'last_operating_system': 'last_device_operating_system',
        'last_browser': 'last_device_browser',
        'last_browser_version': 'last_device_browser_version',
        'last_ip_address': 'last_geo_ip_address',
        'last_country': 'last_geo_country',
        'last_region': 'last_geo_region',
        'last_city': 'last_geo_city',
        'last_lat_long': 'last_geo_lat_long',
        'end_time': 'last_event_time',
    } -%}
    {%- for column, name in last_columns.items() -%}
        {{ sessions }}.{{ column }} as {{ name }},
{% endfor -%}
    {{ sessions }}.last_event_id
{%- endmacro %}


{% test known_in_tables(model, column_name, session_day, tables) %}
{%- for name, day in tables.items() %}
select
    '{{ name }}' as table_name,
    {{ column_name }}
from {{ ref(name) }} as table_rows
where
    {{ column_name }} in (select {{ column_name }} from {{ ref('touched') }})
    and {{ in_touched_sessions(day) }}
    and {{ column_name }} not in (
        select {{ column_name }}
        from {{ model }}
        where {{ in_touched_sessions(session_day) }}
    )
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endtest %}
