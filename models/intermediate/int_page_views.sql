{{ config(
    unique_key='event_id',
    post_hook="{{ delete_stale('full_session_id', ref('touched_sessions')) }}"
) }}

{%- set measures = ['duration_millis', 'active_duration_millis', 'inactive_duration_millis', 'max_scroll_depth'] -%}
{%- set page_columns = ['page_definition_id', 'page_name', 'url_full_url', 'url_host', 'url_path'] -%}
{%- set duration = elapsed('start_time', 'end_time', 'millisecond') -%}
{%- set pause = elapsed('event_time', 'next_active_time', 'millisecond') %}

with live_events as (
    {{ live_events(ref('int_sessions')) }}
),

parsed as (
    select
        event_id,
        full_session_id,
        view_id,
        event_time,
        processed_time,
        event_type,
        case when event_type in ('navigate', 'page_view') then page_definition_id end as page_definition_id,
        case when event_type = 'page_view' then page_name end as page_name,
        case when event_type in ('navigate', 'page_view') then url_full_url end as url_full_url,
        case when event_type in ('navigate', 'page_view') then url_host end as url_host,
        case when event_type in ('navigate', 'page_view') then url_path end as url_path,
        start_time,
        end_time,
        {%- for column in measures %}
        {{ column }},
        {%- endfor %}
        -- What a page does by itself is no sign that somebody is there.
        case
            when event_type in (
                'background', 'console_message', 'crash', 'cumulative_layout_shift', 'exception', 'force_restart',
                'identify', 'load', 'low_memory', 'page_properties', 'page_view', 'request'
            ) then 0
            else 1
        end as is_active,
        count(case when event_type = 'page_view' then 1 end) over (partition by full_session_id) as total_page_views
    from live_events
    where event_time is not null
),

-- The feed's own word wins for the whole session.
measured as (
    select
        event_id,
        full_session_id,
        view_id,
        {%- for column in page_columns %}
        {{ column }},
        {%- endfor %}
        row_number() over (
            partition by full_session_id
            order by coalesce(start_time, event_time), event_time, event_id
        ) as view_number,
        coalesce(start_time, event_time) as start_time,
        coalesce(end_time, event_time) as end_time,
        {%- for column in measures %}
        cast({{ column }} as {{ warehouse_type('bigint') }}) as {{ column }},
        {%- endfor %}
        false as is_estimated
    from parsed
    where event_type = 'page_view'
),

-- Otherwise a navigate begins a view, which lasts until the next one or the last event of the session.
ordered as (
    select
        parsed.*,
        count(case when event_type = 'navigate' then 1 end) over (
            partition by full_session_id
            order by event_time, processed_time nulls last, event_id
            rows between unbounded preceding and current row
        ) as view_number,
        min(case when is_active = 1 then event_time end) over (
            partition by full_session_id
            order by event_time, processed_time nulls last, event_id
            rows between 1 following and unbounded following
        ) as next_active_time
    from parsed
    where total_page_views = 0
),

paused as (
    select
        ordered.*,
        case when is_active = 1 then {{ pause }} end as pause_millis
    from ordered
    where view_number > 0
),

estimated as (
    select
        full_session_id,
        view_number,
        max(case when event_type = 'navigate' then event_id end) as event_id,
        max(case when event_type = 'navigate' then view_id end) as view_id,
        {%- for column in page_columns %}
        max({{ column }}) as {{ column }},
        {%- endfor %}
        min(event_time) as start_time,
        coalesce(
            lead(min(event_time)) over (
                partition by full_session_id
                order by view_number
            ),
            max(event_time)
        ) as end_time,
        coalesce(
            sum(case when pause_millis <= 1000 * {{ var('max_active_gap_seconds') }} then pause_millis end), 0
        ) as active_duration_millis
    from paused
    group by full_session_id, view_number
),

all_views as (
    select * from measured
    union all
    select
        event_id,
        full_session_id,
        view_id,
        {%- for column in page_columns %}
        {{ column }},
        {%- endfor %}
        view_number,
        start_time,
        end_time,
        {{ duration }} as duration_millis,
        cast(active_duration_millis as {{ warehouse_type('bigint') }}) as active_duration_millis,
        {{ duration }}
        - cast(active_duration_millis as {{ warehouse_type('bigint') }}) as inactive_duration_millis,
        cast(null as {{ warehouse_type('bigint') }}) as max_scroll_depth,
        true as is_estimated
    from estimated
),

on_pages as (
    select
        all_views.*,
        coalesce({{ page_id() | indent(8) }}, page_name) as page_id
    from all_views
)

select
    event_id,
    full_session_id,
    view_id,
    view_number,
    page_id,
    {%- for column in page_columns %}
    {{ column }},
    {%- endfor %}
    start_time,
    end_time,
    duration_millis,
    active_duration_millis,
    inactive_duration_millis,
    max_scroll_depth,
    lead(page_id) over (
        partition by full_session_id
        order by view_number
    ) as next_page_id,
    is_estimated,
    '{{ invocation_id }}' as _invocation_id
from on_pages
