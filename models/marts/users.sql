{%- set last_columns = [
    'last_email', 'last_display_name', 'last_user_agent', 'last_device_type', 'last_operating_system', 'last_browser',
    'last_browser_version', 'last_ip_address', 'last_country', 'last_region', 'last_city', 'last_lat_long',
] -%}
{#- Of each touch, as sessions have them. -#}
{%- set arrival = ['channel', 'traffic_source', 'traffic_medium', 'utm_campaign'] -%}
{%- set landing = arrival + ['entry_page_url', 'referrer_host'] -%}
{%- set first_columns = [
    'device_type', 'operating_system', 'browser', 'country', 'region', 'city',
] -%}
{%- set conversions = counted_conversions() -%}
{%- set own = own_columns('users') -%}
{%- set int_conversions, identities = ref('int_conversions'), ref('int_device_identities') -%}
{%- set is_touch -%}
    touch_rank = 1
            and channel <> 'Direct'
            and {{ elapsed('start_time', 'last_start_time', 'second') }} <= 86400 * {{ var('touch_lookback_days') }}
{%- endset %}

with ranked as (
    select
        sessions.*,
        {{ rank_of_session('user_id') }} as rank_from_last,
        row_number() over (
            partition by user_id
            order by start_time nulls last, full_session_id
        ) as rank_from_first,
        row_number() over (
            partition by user_id
            order by case when channel = 'Direct' then 1 else 0 end, end_time desc nulls last, full_session_id desc
        ) as touch_rank,
        {%- for column in own %}
        {{ own_value(column) | indent(4) }},
        {%- endfor %}
        max(start_time) over (partition by user_id) as last_start_time
    from {{ ref('sessions') }} as sessions
),
{%- if own %}

ordered as (
    select
        {{- own_ranks(own, 'user_id', ['start_time'], 'full_session_id') }}
        ranked.*
    from ranked
),
{%- endif %}

days as (
    select
        ranked.user_id,
        count(distinct session_days.day) as active_days
    from ranked
    inner join {{ ref('int_session_days') }} as session_days
        on ranked.full_session_id = session_days.full_session_id
    group by ranked.user_id
),

totals as (
    select
        user_id,
        max(updated_time) as updated_time,
        min(start_time) as first_event_time,
        max(end_time) as last_event_time,
        {%- for column in last_columns %}
        max(case when rank_from_last = 1 then {{ column }} end) as {{ column }},
        {%- endfor %}
        count(*) as total_sessions,
        count(case when total_web_events > 0 then 1 end) as total_web_sessions,
        count(case when total_mobile_app_events > 0 then 1 end) as total_mobile_app_sessions,
        {{ total('duration') }} as total_session_duration,
        {{ total('total_events') }} as total_events,
        {{ total('total_web_events') }} as total_web_events,
        {{ total('total_mobile_app_events') }} as total_mobile_app_events,
        {%- for type in var('event_types') %}
        {{ total('total_' ~ type ~ '_events') }} as total_{{ type }}_events,
        {%- endfor %}
        {%- for column in landing %}
        max(case when rank_from_first = 1 then {{ column }} end) as first_{{ column }},
        {%- endfor %}
        {%- for column in landing %}
        max(case when rank_from_last = 1 then {{ column }} end) as last_{{ column }},
        {%- endfor %}
        {%- for column in arrival %}
        max(case when {{ is_touch }} then {{ column }} end) as last_non_direct_{{ column }},
        {%- endfor %}
        {%- for column in first_columns %}
        max(case when rank_from_first = 1 then last_{{ column }} end) as first_{{ column }},
        {%- endfor %}
        {{ total('engaged_time_millis') }} as total_engaged_time_millis,
        min(case when is_bot then 1 else 0 end) = 1 as is_bot,
        {%- for column in own %}
        {{ own_total(column) | indent(4) }},
        {%- endfor %}
        min(case when is_internal then 1 else 0 end) = 1 as is_internal
    from {{ 'ordered' if own else 'ranked' }}
    group by user_id
)
{%- if conversions %},

-- With what a server told, which has no session.
counted as (
    select
        user_id,
        total_conversions,
        conversion_value
    from ranked
    union all
    select
        {{ user_or_anonymous('identities.user_id', 'conversions.device_id') | indent(8) }} as user_id,
        1 as total_conversions,
        conversions.value as conversion_value
    from {{ int_conversions }} as conversions
    left join {{ identities }} as identities on conversions.device_id = identities.device_id
    where conversions.full_session_id is null
),

converted as (
    select
        user_id,
        {{ total('total_conversions') }} as total_conversions,
        sum(conversion_value) as conversion_value
    from counted
    group by user_id
)
{%- endif %}

select
    totals.*,
    coalesce(days.active_days, 0) as active_days,
    {%- if conversions %}
    converted.total_conversions,
    converted.conversion_value
    {%- else %}
    cast(0 as {{ warehouse_type('bigint') }}) as total_conversions,
    cast(null as {{ warehouse_type('double') }}) as conversion_value
    {%- endif %}
from totals
left join days on totals.user_id = days.user_id
{%- if conversions %}
left join converted on totals.user_id = converted.user_id
{%- endif %}
