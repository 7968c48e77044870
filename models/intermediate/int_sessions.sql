{{ config(
    unique_key='full_session_id',
    meta={'prune_by_session_day': 'start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('start_time'), 'start_time') }}",
    **layout('start_time', filter_by='device_id', join_by='full_session_id')
) }}

{#- All that its first and last page may be named by, so that definitions of any day name them when it is read. -#}
{%- set named_by = ['page_definition_id', 'undefined_page_id', 'page_value_id'] -%}
{%- set own = own_columns('sessions', also='user_property') | rejectattr('take', 'equalto', 'user_property') | list %}

with live_events as (
    {{ live_events() }}
),

ranked as (
    select
        live_events.*,
        {%- for column in own %}
        {{ own_value(column) | indent(4) }},
        {%- endfor %}
        {{ is_page_view() | indent(8) }} as is_page_view,
        {{ view_time('start_time') | indent(8) }} as view_start_time,
        {{ from_last('full_session_id') }} as rank_from_last,
        -- A server's event knows neither browser nor place.
        {{ from_last('full_session_id', first="case when source_type = 'server' then 1 else 0 end") }} as client_rank,
        row_number() over (
            partition by full_session_id
            order by
                case when initial_referrer_full_url is null then 1 else 0 end,
                event_time nulls last,
                processed_time nulls last,
                event_id
        ) as referrer_rank
    from live_events
),

viewed as (
    select
        {%- for place, direction, nulls in [('first', 'asc', 'last'), ('last', 'desc', 'first')] %}
        row_number() over (
            partition by full_session_id, is_page_view
            order by
                view_start_time {{ direction }},
                event_time {{ direction }} nulls {{ nulls }},
                processed_time {{ direction }} nulls {{ nulls }},
                event_id {{ direction }}
        ) as rank_from_{{ place }}_view,
        {%- endfor %}
        {{- own_ranks(own, 'full_session_id', ['event_time', 'processed_time'], 'event_id') }}
        ranked.*
    from ranked
),

totals as (
    select
        full_session_id,
        device_id,
        session_id,
        min(event_time) as start_time,
        max(event_time) as end_time,
        max(updated_time) as updated_time,
        count(*) as total_events,
        count(case when is_page_view then 1 end) as total_page_views,
        count(distinct case when is_page_view then url_full_url end) as total_unique_urls,
        count(case when source_type = 'web' then 1 end) as total_web_events,
        count(case when source_type = 'mobile_app' then 1 end) as total_mobile_app_events,
        {%- for type in var('event_types') %}
        count(case when event_type = '{{ type }}' then 1 end) as total_{{ type }}_events,
        {%- endfor %}
        max(case when rank_from_last = 1 then event_id end) as last_event_id,
        max(case when rank_from_last = 1 then processed_time end) as last_processed_time,
        {%- for page, place in [('entry', 'first'), ('exit', 'last')] %}
        {%- for column in named_by %}
        max(case when is_page_view and rank_from_{{ place }}_view = 1 then {{ column }} end) as {{ page }}_{{ column }},
        {%- endfor %}
        {%- endfor %}
        max(case when referrer_rank = 1 then initial_referrer_full_url end) as initial_referrer_url,
        max(case when referrer_rank = 1 then {{ host_alone('initial_referrer_host') }} end) as initial_referrer_host,
        max(case when referrer_rank = 1 then {{ host_alone('url_host') }} end) as referred_host,
        {%- for page, place in [('entry', 'first'), ('exit', 'last')] %}
        max(case when is_page_view and rank_from_{{ place }}_view = 1 then url_full_url end) as {{ page }}_page_url,
        {%- endfor %}
        max(case when is_page_view and rank_from_first_view = 1 then url_query end) as entry_page_query,
        count(case when event_type = 'click' and fs_rage_count > 0 then 1 end) as rage_clicks,
        count(case when event_type = 'click' and fs_dead_count > 0 then 1 end) as dead_clicks,
        count(case when event_type = 'click' and fs_error_kind is not null then 1 end) as error_clicks,
        count(case when event_type = 'exception' then 1 end) as exceptions,
        count(case when event_type = 'crash' then 1 end) as crashes,
        max(case when is_bot then 1 else 0 end) = 1 as is_bot,
        {%- for column in own %}
        {{ own_total(column) | indent(4) }},
        {%- endfor %}
        max(case when is_internal then 1 else 0 end) = 1 as is_internal
    from viewed
    group by full_session_id, device_id, session_id
),

engaged as (
    select
        full_session_id,
        -- Nobody looks at a page for a day; what a device says beyond that would overflow the sum.
        cast(
            sum(case when active_duration_millis between 0 and 86400000 then active_duration_millis end)
            as {{ warehouse_type('bigint') }}
        ) as engaged_time_millis
    from {{ ref('int_page_views') }}
    {%- if is_incremental() %}
    where
        full_session_id in (select touched.full_session_id from {{ ref('touched') }} as touched)
        and {{ in_touched_sessions('session_start_time') }}
    {%- endif %}
    group by full_session_id
),

arrivals as (
    select
        totals.*,
        {%- for name in utm_parameters() %}
        {{ query_parameter('entry_page_query', name) }} as {{ name }},
        {%- endfor %}
        {%- for name in click_ids() %}
        {{ query_parameter('entry_page_query', name) }} as {{ name | lower }},
        {%- endfor %}
        case when initial_referrer_host <> referred_host or referred_host is null then initial_referrer_host end
            as referrer_host
    from totals
),

clicked as (
    select
        arrivals.*,
        coalesce({{ click_ids() | map('lower') | join(', ') }}) as click_id,
        case
            {%- for name in click_ids() %}
            when {{ name | lower }} is not null then '{{ name }}'
            {%- endfor %}
        end as click_id_name
    from arrivals
),

-- What the URL does not say itself, its click id says; what that does not say, the referrer.
sourced as (
    select
        clicked.*,
        coalesce({{ as_said('utm_source') }}, {{ click_id_case(0) | indent(8) }}, referrer_host) as traffic_source,
        coalesce(
            {{ as_said('utm_medium') }},
            {{ click_id_case(1) | indent(12) }},
            case when utm_source is null and referrer_host is not null then 'referral' end
        ) as traffic_medium
    from clicked
)

select
    totals.full_session_id,
    totals.device_id,
    totals.session_id,
    totals.start_time,
    totals.end_time,
    totals.updated_time,
    totals.total_events,
    totals.total_web_events,
    totals.total_mobile_app_events,
    totals.total_page_views,
    totals.total_unique_urls,
    {%- for type in var('event_types') %}
    totals.total_{{ type }}_events,
    {%- endfor %}
    {%- for page in ['entry', 'exit'] %}
    {%- for column in named_by %}
    totals.{{ page }}_{{ column }},
    {%- endfor %}
    {%- endfor %}
    totals.last_event_id,
    totals.last_processed_time,
    client_events.source_type as last_source_type,
    client_events.user_agent_raw_user_agent as last_user_agent,
    client_events.user_agent_device as last_device_type,
    client_events.user_agent_operating_system as last_operating_system,
    client_events.user_agent_browser as last_browser,
    client_events.user_agent_browser_version as last_browser_version,
    client_events.location_ip_address as last_ip_address,
    client_events.location_country as last_country,
    client_events.location_region as last_region,
    client_events.location_city as last_city,
    client_events.location_lat_long as last_lat_long,
    totals.initial_referrer_url,
    client_events.app_name as last_app_name,
    client_events.app_version as last_app_version,
    totals.entry_page_url,
    totals.exit_page_url,
    {%- for name in utm_parameters() %}
    totals.{{ name }},
    {%- endfor %}
    totals.click_id,
    totals.click_id_name,
    totals.referrer_host,
    totals.traffic_source,
    {{ source_name('totals.traffic_source') | indent(4) }} as traffic_source_name,
    totals.traffic_medium,
    engaged.engaged_time_millis,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.error_clicks,
    totals.exceptions,
    totals.crashes,
    totals.is_bot,
    {%- for column in own %}
    totals.{{ column.name }},
    {%- endfor %}
    totals.is_internal,
    '{{ invocation_id }}' as _invocation_id
from sourced as totals
inner join ranked as client_events
    on totals.full_session_id = client_events.full_session_id and client_events.client_rank = 1
left join engaged on totals.full_session_id = engaged.full_session_id
