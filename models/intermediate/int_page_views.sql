{{ config(
    unique_key='event_id',
    meta={'prune_by_session_day': 'session_start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('session_start_time'), 'session_start_time') }}",
    **layout('session_start_time', filter_by='page_value_id', join_by='full_session_id')
) }}

{%- set of_view = [
    'event_id', 'view_id', 'page_definition_id', 'undefined_page_id', 'page_value_id', 'page_name',
    'url_full_url', 'url_host', 'url_path', 'event_type', 'start_time', 'end_time', 'duration_millis', 'active_duration_millis',
    'inactive_duration_millis', 'max_scroll_depth',
] -%}
{%- set in_order = 'order by start_time, event_time nulls last, processed_time nulls last, event_id' -%}
{%- set pause = elapsed('event_time', 'next_active_time', 'millisecond') -%}
{%- set duration = elapsed('start_time', 'last_moment', 'millisecond') -%}
{%- set own = own_columns('page_views', also='session') | rejectattr('take', 'equalto', 'session') | list %}

with live_events as (
    {{ live_events() }}
),

parsed as (
    select
        event_id,
        full_session_id,
        view_id,
        event_time,
        processed_time,
        event_type,
        page_definition_id,
        undefined_page_id,
        page_value_id,
        coalesce(case when event_type = 'page_view' then nullif(page_name, '') end, page_label) as page_name,
        url_full_url,
        url_host,
        url_path,
        {{ is_page_view() | indent(8) }} as is_page_view,
        {{ view_time('start_time') | indent(8) }} as start_time,
        {{ view_time('end_time') | indent(8) }} as end_time,
        duration_millis,
        active_duration_millis,
        inactive_duration_millis,
        max_scroll_depth,
        {%- for column in own %}
        {{ own_value(column) | indent(4) }},
        {%- endfor %}
        -- What a page does by itself is no sign that somebody is there.
        case
            when event_type in (
                'background', 'console_message', 'crash', 'cumulative_layout_shift', 'exception', 'force_restart',
                'identify', 'load', 'low_memory', 'page_properties', 'page_view', 'request'
            ) then 0
            else 1
        end as is_active
    from live_events
),

-- A view begins with its page_view event or its navigate, and has what happens in the session until the next begins.
ordered as (
    select
        parsed.*,
        count(case when is_page_view then 1 end) over (
            partition by full_session_id
            {{ in_order }}
            rows between unbounded preceding and current row
        ) as view_number,
        min(case when is_active = 1 then event_time end) over (
            partition by full_session_id
            {{ in_order }}
            rows between 1 following and unbounded following
        ) as next_active_time,
        min(event_time) over (partition by full_session_id) as session_start_time,
        max(event_time) over (partition by full_session_id) as last_time
    from parsed
    where event_time is not null or is_page_view
),

paused as (
    select
        ordered.*,
        {{- own_ranks(own, 'full_session_id, view_number', ['event_time', 'processed_time'], 'event_id') }}
        case when is_active = 1 then {{ pause }} end as pause_millis
    from ordered
    where view_number > 0
),

viewed as (
    select
        full_session_id,
        view_number,
        {%- for column in of_view %}
        max(case when is_page_view then {{ column }} end) as {{ column }},
        {%- endfor %}
        {%- for column in own %}
        {{ own_total(column) | indent(4) }},
        {%- endfor %}
        lead(min(start_time)) over (
            partition by full_session_id
            order by view_number
        ) as next_start_time,
        max(session_start_time) as session_start_time,
        max(last_time) as last_time,
        cast(
            coalesce(
                sum(case when pause_millis <= 1000 * {{ var('max_active_gap_seconds') }} then pause_millis end), 0
            ) as {{ warehouse_type('bigint') }}
        ) as active_millis
    from paused
    group by full_session_id, view_number
),

-- What the feed says of a view wins; without its word, a view lasts until the next one or the session's last event.
timed as (
    select
        viewed.*,
        event_type <> 'page_view' as is_estimated,
        -- Never before it began: an event without a time counts as begun when it was processed.
        greatest(
            start_time,
            case
                when event_type = 'page_view' then coalesce(end_time, start_time)
                else coalesce(next_start_time, last_time, start_time)
            end
        ) as last_moment
    from viewed
)

select
    event_id,
    full_session_id,
    session_start_time,
    view_id,
    view_number,
    page_definition_id,
    undefined_page_id,
    page_value_id,
    page_name,
    url_full_url,
    url_host,
    url_path,
    start_time,
    last_moment as end_time,
    case when is_estimated then {{ duration }} else duration_millis end as duration_millis,
    case when is_estimated then active_millis else active_duration_millis end as active_duration_millis,
    case when is_estimated then {{ duration }} - active_millis else inactive_duration_millis end
        as inactive_duration_millis,
    case when not is_estimated then max_scroll_depth end as max_scroll_depth,
    {%- for column in ['page_definition_id', 'undefined_page_id', 'page_value_id'] %}
    lead({{ column }}) over (
        partition by full_session_id
        order by view_number
    ) as next_{{ column }},
    {%- endfor %}
    is_estimated,
    {%- for column in own %}
    {{ column.name }},
    {%- endfor %}
    '{{ invocation_id }}' as _invocation_id
from timed
