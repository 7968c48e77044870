{{ config(
    unique_key=['full_session_id', 'page_key'],
    meta={'prune_by_session_day': 'session_start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('session_start_time'), 'session_start_time') }}",
    **layout('session_start_time', filter_by='page_value_id', join_by='full_session_id')
) }}

{#- All that a page may be named by, so that definitions of any day name it when it is read. -#}
{%- set named_by = ['page_definition_id', 'undefined_page_id', 'page_value_id'] %}

with live_events as (
    {{ live_events() }}
),

parsed as (
    select
        event_id,
        full_session_id,
        event_time,
        processed_time,
        event_type,
        {%- for column in named_by %}
        {{ column }},
        {%- endfor %}
        page_host as url_host,
        page_path as url_path,
        page_label,
        -- In an app a click tells no screen; the page_view event of its view does.
        event_type = 'click' and page_definition_id is null and page_path is null and screen_name is null
            as is_of_view,
        {%- for column in ['event_type'] + named_by %}
        first_value({{ column }}) over (
            partition by full_session_id, view_id
            order by case when event_type = 'page_view' then 1 else 0 end desc, page_id desc, event_id desc
            rows between unbounded preceding and unbounded following
        ) as {{ column }}_of_view,
        {%- endfor %}
        {{ is_page_view() | indent(8) }} as is_page_view,
        {{ view_time('start_time') | indent(8) }} as start_time,
        case when event_type = 'click' then fs_rage_count end as rage_count,
        case when event_type = 'click' then fs_dead_count end as dead_count
    from live_events
    where event_type in ('navigate', 'page_view', 'click')
),

ranked as (
    select
        event_id,
        full_session_id,
        event_time,
        {%- for column in named_by %}
        case when is_of_view and event_type_of_view = 'page_view' then {{ column }}_of_view else {{ column }} end
            as {{ column }},
        {%- endfor %}
        url_host,
        url_path,
        case when not is_of_view or event_type_of_view <> 'page_view' then page_label end as page_label,
        is_page_view,
        rage_count,
        dead_count,
        row_number() over (
            partition by full_session_id
            order by
                case when is_page_view then 0 else 1 end,
                start_time,
                event_time nulls last,
                processed_time nulls last,
                event_id
        ) as rank_from_first,
        row_number() over (
            partition by full_session_id
            order by
                case when is_page_view then 0 else 1 end,
                start_time desc,
                event_time desc nulls first,
                processed_time desc nulls first,
                event_id desc
        ) as rank_from_last
    from parsed
    where is_page_view or event_type = 'click'
),

keyed as (
    select
        ranked.*,
        {{ hash_of(named_by) }} as page_key
    from ranked
),

sessions as (
    {{ session_starts() }}
)

select
    keyed.full_session_id,
    max(sessions.start_time) as session_start_time,
    keyed.page_key,
    {%- for column in named_by %}
    max(keyed.{{ column }}) as {{ column }},
    {%- endfor %}
    max(keyed.page_label) as page_label,
    max(keyed.url_host) as url_host,
    max(keyed.url_path) as url_path,
    min(keyed.event_time) as first_time,
    max(keyed.event_time) as last_time,
    count(case when keyed.is_page_view then 1 end) as views,
    count(case when keyed.is_page_view and keyed.rank_from_first = 1 then 1 end) > 0 as is_entry,
    count(case when keyed.is_page_view and keyed.rank_from_last = 1 then 1 end) > 0 as is_exit,
    count(case when keyed.rage_count > 0 then 1 end) as rage_clicks,
    count(case when keyed.dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from keyed
left join sessions on keyed.full_session_id = sessions.full_session_id
group by keyed.full_session_id, keyed.page_key
