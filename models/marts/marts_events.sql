{{ config(alias='events') }}

{#- A view: only the days and columns that a query asks for are parsed, and no JSON is stored twice. -#}
{%- set columns = [
    'event_id', 'device_id', 'session_id', 'view_id', 'event_time', 'event_type', 'source_type', 'updated_time',
    'processed_time', 'source_properties', 'event_properties',
] -%}
{%- set of_source = {
    'device_user_agent': 'user_agent.raw_user_agent',
    'device_type': 'user_agent.device',
    'device_operating_system': 'user_agent.operating_system',
    'device_browser': 'user_agent.browser',
    'device_browser_version': 'user_agent.browser_version',
    'geo_ip_address': 'location.ip_address',
    'geo_country': 'location.country',
    'geo_region': 'location.region',
    'geo_city': 'location.city',
    'geo_lat_long': 'location.lat_long',
    'url_full_url': 'url.full_url',
    'url_host': 'url.host',
    'url_path': 'url.path',
    'url_query': 'url.query',
    'url_hash_path': 'url.hash_path',
    'url_hash_query': 'url.hash_query',
    'initial_referrer_full_url': 'initial_referrer.full_url',
    'initial_referrer_host': 'initial_referrer.host',
    'initial_referrer_path': 'initial_referrer.path',
    'initial_referrer_query': 'initial_referrer.query',
    'initial_referrer_hash_path': 'initial_referrer.hash_path',
    'initial_referrer_hash_query': 'initial_referrer.hash_query',
} %}
-- What a wrong clock timed is few, and lies in a table of its own: each half is pruned by what is asked of event_time.
with events as (
    select
        {{ columns | join(',\n        ') }}
    from {{ ref('events') }} as events
    where
        events.event_type is not null
        and not coalesce({{ has_wrong_clock('events') }}, false)
        and {{ is_counted('events') }}
    union all
    select
        {{ columns | join(',\n        ') }}
    from {{ ref('int_wrong_clocks') }}
)

select
    events.event_id,
    cast(events.device_id as {{ dbt.type_string() }}) as device_id,
    cast(events.session_id as {{ dbt.type_string() }}) as session_id,
    cast(events.view_id as {{ dbt.type_string() }}) as view_id,
    events.event_time,
    events.event_type,
    events.source_type,
    events.updated_time,
    events.processed_time,
    {{ full_session_id('events') }} as full_session_id,
    {%- for column, path in of_source.items() %}
    {%- set object, part = path.split('.') %}
    {%- set value = json_text('events.source_properties', path) %}
    {%- if object in ('url', 'initial_referrer') %}
    {{ url_property(part, value, json_text('events.source_properties', object ~ '.full_url')) }} as {{ column }},
    {%- else %}
    {{ value }} as {{ column }},
    {%- endif %}
    {%- endfor %}
    events.source_properties,
    {{ json_text('events.event_properties', 'target.text') }} as target_text,
    coalesce({{ json_boolean('events.event_properties', 'target.masked') }}, false) as target_masked,
    {{ json_text('events.event_properties', 'target.raw_selector') }} as target_raw_selector,
    {{ json_object('events.event_properties', 'target.element_properties') }} as target_element_properties,
    {{ json_text('events.event_properties', 'target.element_definition_id') }} as element_definition_id,
    {{ json_object('events.event_properties', 'target.additional_element_definition_ids') }}
        as additional_element_definition_ids,
    {{ named_user(json_text('events.event_properties', 'user_id')) }} as user_id,
    {%- for column in ['user_email', 'user_display_name'] %}
    {{ json_text('events.event_properties', column) }} as {{ column }},
    {%- endfor %}
    {{ json_object('events.event_properties', 'user_properties') }} as user_properties,
    events.event_properties,
    {{ is_bot(json_text('events.source_properties', 'user_agent.raw_user_agent')) }} as is_bot,
    {{ is_internal(
        json_text('events.source_properties', 'location.ip_address'), json_text('events.source_properties', 'url.host')
    ) }} as is_internal
from events
where {{ is_late_enough('events.event_time') }}
