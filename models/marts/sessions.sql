{%- set conversions, int_conversions = counted_conversions(), ref('int_conversions') -%}
{%- set duration = elapsed('sessions.start_time', 'sessions.end_time', 'second') -%}
{%- set replays = "'https://" ~ var('fullstory_replay_host') ~ '/ui/' ~ var('fullstory_org_id') ~ "/session/'" %}
-- Who a session belongs to is asked when it is read: a device identified today is known for its sessions of last year,
-- and none of them is written again.
with owned as (
    select
        sessions.*,
        {{ user_or_anonymous('session_users.user_id', 'sessions.device_id') }} as user_id,
        {{ current_page_definition_id('sessions', 'entry_') | indent(8) }} as entry_definition_id,
        {{ page_by_rule('entry_') }} as entry_page_by_rule,
        {{ current_page_definition_id('sessions', 'exit_') | indent(8) }} as exit_definition_id,
        {{ page_by_rule('exit_') }} as exit_page_by_rule,
        {{ as_said('sessions.utm_campaign') }} as campaign_said,
        coalesce(sources.category, named_sources.category) as source_category,
        sessions.utm_medium is null and sessions.click_id_name is null as is_by_referrer
    from {{ ref('int_sessions') }} as sessions
    left join {{ ref('int_session_users') }} as session_users
        on sessions.full_session_id = session_users.full_session_id
    left join {{ ref('channel_sources') }} as sources on sessions.traffic_source = sources.source
    left join {{ ref('channel_sources') }} as named_sources on sessions.traffic_source_name = named_sources.source
    {{ with_page('sessions', 'entry_') | indent(4) }}
    {{ with_page('sessions', 'exit_') | indent(4) }}
),

-- In a window of its own, so that what is asked of the sessions of a day reads no more than this of the others.
numbered as (
    select
        full_session_id,
        row_number() over (
            partition by device_id
            order by start_time nulls last, session_id
        ) as session_number
    from {{ ref('int_sessions') }}
)
{%- if conversions %},

converted as (
    select
        full_session_id,
        count(*) as total_conversions,
        sum(value) as conversion_value
    from {{ int_conversions }}
    where full_session_id is not null
    group by full_session_id
)
{%- endif %}

select
    sessions.full_session_id,
    sessions.user_id,
    cast(sessions.device_id as {{ dbt.type_string() }}) as device_id,
    cast(sessions.session_id as {{ dbt.type_string() }}) as session_id,
    sessions.start_time,
    sessions.end_time,
    sessions.updated_time,
    cast({{ duration }} as {{ warehouse_type('bigint') }}) as duration,
    {{ dbt.concat([replays, 'sessions.full_session_id', "'?url_source=DD'"]) }} as replay_url,
    sessions.total_events,
    sessions.total_web_events,
    sessions.total_mobile_app_events,
    sessions.total_page_views,
    sessions.total_unique_urls,
    {%- for type in var('event_types') %}
    sessions.total_{{ type }}_events,
    {%- endfor %}
    {%- for page in ['entry_', 'exit_'] %}
    coalesce(sessions.{{ page }}definition_id, sessions.{{ page }}page_by_rule, sessions.{{ page }}undefined_page_id)
        as {{ page }}page_id,
    {{ page }}definitions.name as {{ page }}page_name,
    {%- endfor %}
    sessions.last_event_id,
    sessions.last_processed_time,
    sessions.last_source_type,
    users.user_email as last_email,
    users.user_display_name as last_display_name,
    sessions.last_user_agent,
    sessions.last_device_type,
    sessions.last_operating_system,
    sessions.last_browser,
    sessions.last_browser_version,
    sessions.last_ip_address,
    sessions.last_country,
    sessions.last_region,
    sessions.last_city,
    sessions.last_lat_long,
    sessions.initial_referrer_url,
    sessions.last_app_name,
    sessions.last_app_version,
    sessions.entry_page_url,
    sessions.exit_page_url,
    {%- for name in utm_parameters() %}
    sessions.{{ name }},
    {%- endfor %}
    sessions.click_id,
    sessions.click_id_name,
    sessions.referrer_host,
    sessions.traffic_source,
    case
        when sessions.is_by_referrer and sessions.traffic_medium = 'referral' and sessions.source_category = 'search'
            then 'organic'
        else sessions.traffic_medium
    end as traffic_medium,
    {{ channel(
        'sessions.traffic_source', 'sessions.traffic_medium', 'sessions.campaign_said', 'sessions.source_category'
    ) | indent(4) }} as channel,
    sessions.engaged_time_millis,
    sessions.total_page_views <= 1 and coalesce(sessions.engaged_time_millis, 1000 * {{ duration }}, 0) < 10000
        as is_bounce,
    numbered.session_number,
    sessions.rage_clicks,
    sessions.dead_clicks,
    sessions.error_clicks,
    sessions.exceptions,
    sessions.crashes,
    sessions.is_bot,
    (
        coalesce(sessions.is_internal, false)
        or {{ is_internal_user('sessions.user_id', 'users.user_email') }}
    ) as is_internal,
    {%- for column in own_columns('sessions', also='user_property') %}
    {%- if column.take == 'user_property' %}
    {{ inner_property('users.user_properties', {'name': column.of, 'data_type': column.data_type}) | trim }}
        as {{ column.name }},
    {%- else %}
    sessions.{{ column.name }},
    {%- endif %}
    {%- endfor %}
    {%- if conversions %}
    coalesce(converted.total_conversions, 0) as total_conversions,
    converted.conversion_value
    {%- else %}
    cast(0 as {{ warehouse_type('bigint') }}) as total_conversions,
    cast(null as {{ warehouse_type('double') }}) as conversion_value
    {%- endif %}
from owned as sessions
inner join numbered on sessions.full_session_id = numbered.full_session_id
left join {{ ref('int_users') }} as users on sessions.user_id = users.user_id
{%- for page in ['entry_', 'exit_'] %}
left join {{ ref('page_definitions') }} as {{ page }}definitions
    on sessions.{{ page }}definition_id = {{ page }}definitions.id
{%- endfor %}
{%- if conversions %}
left join converted on sessions.full_session_id = converted.full_session_id
{%- endif %}
