{{ config(
    unique_key=['full_session_id', 'page_id'],
    post_hook="{{ delete_stale('full_session_id', ref('touched_sessions')) }}"
) }}

with live_events as (
    {{ live_events(ref('int_sessions')) }}
),

parsed as (
    select
        event_id,
        full_session_id,
        event_time,
        processed_time,
        event_type,
        page_definition_id,
        -- A defined page may have many URLs.
        case when page_definition_id is null then url_host end as url_host,
        case when page_definition_id is null then url_path end as url_path,
        case when event_type = 'click' then fs_rage_count end as rage_count,
        case when event_type = 'click' then fs_dead_count end as dead_count
    from live_events
    where event_type in ('navigate', 'click')
),

on_pages as (
    select
        parsed.*,
        {{ page_id() | indent(8) }} as page_id
    from parsed
    where
        page_definition_id is not null
        or url_host is not null
        or url_path is not null
),

ranked as (
    select
        on_pages.*,
        row_number() over (
            partition by full_session_id
            order by
                case when event_type = 'navigate' then 0 else 1 end,
                event_time nulls last,
                processed_time nulls last,
                event_id
        ) as rank_from_first,
        row_number() over (
            partition by full_session_id
            order by
                case when event_type = 'navigate' then 0 else 1 end,
                event_time desc nulls last,
                processed_time desc nulls last,
                event_id desc
        ) as rank_from_last
    from on_pages
)

select
    full_session_id,
    page_id,
    max(page_definition_id) as page_definition_id,
    max(url_host) as url_host,
    max(url_path) as url_path,
    min(event_time) as first_time,
    max(event_time) as last_time,
    count(case when event_type = 'navigate' then 1 end) as views,
    count(case when event_type = 'navigate' and rank_from_first = 1 then 1 end) > 0 as is_entry,
    count(case when event_type = 'navigate' and rank_from_last = 1 then 1 end) > 0 as is_exit,
    count(case when rage_count > 0 then 1 end) as rage_clicks,
    count(case when dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from ranked
group by full_session_id, page_id
