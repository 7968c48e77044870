with ranked as (
    select
        sessions.*,
        {{ rank_of_session('device_id') }} as rank_from_last
    from {{ ref('sessions') }} as sessions
)

select
    device_id as id,
    max(case when rank_from_last = 1 then user_id end) as user_id,
    min(start_time) as first_event_time,
    max(end_time) as event_time,
    max(updated_time) as updated_time,
    max(case when rank_from_last = 1 then last_event_id end) as event_id,
    max(case when rank_from_last = 1 then last_processed_time end) as processed_time,
    {%- for column, name in [
        ('last_user_agent', 'user_agent'),
        ('last_device_type', 'type'),
        ('last_operating_system', 'operating_system'),
        ('last_browser', 'browser'),
        ('last_browser_version', 'browser_version'),
        ('last_ip_address', 'geo_ip_address'),
        ('last_country', 'geo_country'),
        ('last_region', 'geo_region'),
        ('last_city', 'geo_city'),
        ('last_lat_long', 'geo_lat_long'),
        ('last_source_type', 'source_type'),
    ] %}
    max(case when rank_from_last = 1 then {{ column }} end) as {{ name }},
    {%- endfor %}
    count(*) as total_sessions,
    {{ total('total_events') }} as total_events,
    cast(1 as {{ warehouse_type('bigint') }}) as event_seq_num_desc
from ranked
group by device_id
