{%- set last_columns = {
    'user_agent': 'last_device_user_agent',
    'type': 'last_device_type',
    'operating_system': 'last_device_operating_system',
    'browser': 'last_device_browser',
    'browser_version': 'last_device_browser_version',
    'geo_ip_address': 'last_geo_ip_address',
    'geo_country': 'last_geo_country',
    'geo_region': 'last_geo_region',
    'geo_city': 'last_geo_city',
    'geo_lat_long': 'last_geo_lat_long',
    'event_time': 'last_event_time',
} %}
-- Whom no identify event has named, before or since: a name without an id does not identify.
select
    devices.id as device_id,
    {%- for column, name in last_columns.items() %}
    devices.{{ column }} as {{ name }},
    {%- endfor %}
    devices.event_id as last_event_id
from {{ ref('devices') }} as devices
left join {{ ref('int_device_identities') }} as identities on devices.id = identities.device_id
where identities.user_id is null
