{%- set last_columns = [
    'last_email', 'last_display_name', 'last_user_agent', 'last_device_type', 'last_operating_system', 'last_browser',
    'last_browser_version', 'last_ip_address', 'last_country', 'last_region', 'last_city', 'last_lat_long',
] -%}

with ranked as (
    select
        sessions.*,
        {{ rank_of_session('user_id') }} as rank_from_last
    from {{ ref('sessions') }} as sessions
)

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
    cast(sum(duration) as {{ warehouse_type('bigint') }}) as total_session_duration,
    cast(sum(total_events) as {{ warehouse_type('bigint') }}) as total_events,
    cast(sum(total_web_events) as {{ warehouse_type('bigint') }}) as total_web_events,
    cast(sum(total_mobile_app_events) as {{ warehouse_type('bigint') }}) as total_mobile_app_events
    {%- if var('event_types') %},{% endif %}
    {%- for type in var('event_types') %}
    cast(sum(total_{{ type }}_events) as {{ warehouse_type('bigint') }}) as total_{{ type }}_events
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
from ranked
group by user_id
