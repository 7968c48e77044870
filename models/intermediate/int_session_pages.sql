{{ config(
    unique_key=['full_session_id', 'page_id'],
    meta={'prune_by_session_day': 'session_start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('session_start_time'), 'session_start_time') }}",
    **layout('session_start_time', filter_by='page_id', join_by='full_session_id')
) }}

{#- A defined page may have many URLs. -#}
{%- set not_defined = 'case when page_definition_id is null then' %}

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
        page_id,
        page_definition_id,
        {{ not_defined }} page_host end as url_host,
        {{ not_defined }} page_path end as url_path,
        {{ not_defined }} page_label end as page_label,
        -- In an app a click tells no screen; the page_view event of its view does.
        case
            when event_type = 'click' and page_definition_id is null and page_path is null and screen_name is null
                then max(case when event_type = 'page_view' then page_id end) over (
                    partition by full_session_id, view_id
                )
        end as page_id_of_view,
        {{ is_page_view() | indent(8) }} as is_page_view,
        {{ view_time('start_time') | indent(8) }} as start_time,
        case when event_type = 'click' then fs_rage_count end as rage_count,
        case when event_type = 'click' then fs_dead_count end as dead_count
    from live_events
    where event_type in ('navigate', 'page_view', 'click')
),

ranked as (
    select
        parsed.*,
        coalesce(page_id_of_view, page_id) as page_id_of_event,
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

sessions as (
    {{ session_starts() }}
)

select
    ranked.full_session_id,
    max(sessions.start_time) as session_start_time,
    ranked.page_id_of_event as page_id,
    max(ranked.page_definition_id) as page_definition_id,
    max(case when ranked.page_id_of_view is null then ranked.page_label end) as page_label,
    max(ranked.url_host) as url_host,
    max(ranked.url_path) as url_path,
    min(ranked.event_time) as first_time,
    max(ranked.event_time) as last_time,
    count(case when ranked.is_page_view then 1 end) as views,
    count(case when ranked.is_page_view and ranked.rank_from_first = 1 then 1 end) > 0 as is_entry,
    count(case when ranked.is_page_view and ranked.rank_from_last = 1 then 1 end) > 0 as is_exit,
    count(case when ranked.rage_count > 0 then 1 end) as rage_clicks,
    count(case when ranked.dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from ranked
left join sessions on ranked.full_session_id = sessions.full_session_id
group by ranked.full_session_id, ranked.page_id_of_event
