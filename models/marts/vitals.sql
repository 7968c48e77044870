{#- The published thresholds: of what is good, and of what is not yet poor (https://web.dev/articles/vitals). -#}
{%- set vitals = [
    ('load', 'largest_paint_time_millis', 2500, 4000),
    ('load', 'first_paint_time_millis', 1800, 3000),
    ('load', 'time_to_first_byte_millis', 800, 1800),
    ('interaction_to_next_paint', 'interaction_to_next_paint_millis', 200, 500),
    ('first_input_delay', 'first_input_delay_millis', 100, 300),
    ('cumulative_layout_shift', 'cumulative_layout_shift', 0.1, 0.25),
] %}

with thresholds as (
    {%- for event_type, vital, good, bearable in vitals %}
    select
        '{{ event_type }}' as event_type,
        '{{ vital }}' as vital,
        cast({{ good }} as {{ warehouse_type('double') }}) as good_until,
        cast({{ bearable }} as {{ warehouse_type('double') }}) as bearable_until
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

measured as (
    select
        {{ local_day('events.event_time') }} as day,
        events.page_definition_id,
        events.undefined_page_id,
        events.page_value_id,
        events.page_label,
        events.user_agent_device as device_type,
        events.user_agent_browser as browser,
        events.location_country as country,
        thresholds.vital,
        thresholds.good_until,
        thresholds.bearable_until,
        case thresholds.vital
            {%- for _, vital, _, _ in vitals %}
            when '{{ vital }}' then events.{{ vital }}
            {%- endfor %}
        end as measure
    from {{ ref('int_parsed_events') }} as events
    inner join {{ ref('int_sessions') }} as sessions on events.full_session_id = sessions.full_session_id
    inner join thresholds on events.event_type = thresholds.event_type
    where
        {{ is_in_session('events') }}
        and events.event_time is not null
        and events.event_type in (
            {%- for event_type in vitals | map(attribute=0) | unique %}
            '{{ event_type }}'{{ ',' if not loop.last }}
            {%- endfor %}
        )
        and not coalesce(sessions.is_bot, false)
        and not coalesce(sessions.is_internal, false)
),

named as (
    select
        measured.*,
        {{ current_page_definition_id('measured') }} as current_definition_id,
        {{ page_by_rule() }} as page_by_rule
    from measured
    {{ with_page('measured') | indent(4) }}
    where measured.measure is not null
),

totals as (
    select
        day,
        coalesce(current_definition_id, page_by_rule, undefined_page_id) as page_id,
        device_type,
        browser,
        country,
        vital,
        max(current_definition_id) as page_definition_id,
        max(case when current_definition_id is null then page_label end) as page_label,
        max(good_until) as good_until,
        max(bearable_until) as bearable_until,
        count(*) as events,
        {{ percentile('measure', 0.75) }} as p75,
        count(case when measure <= good_until then 1 end) as good_events,
        count(case when measure > good_until and measure <= bearable_until then 1 end) as needs_improvement_events,
        count(case when measure > bearable_until then 1 end) as poor_events
    from named
    group by
        day,
        coalesce(current_definition_id, page_by_rule, undefined_page_id),
        device_type,
        browser,
        country,
        vital
)

select
    totals.day,
    totals.page_id,
    totals.page_definition_id,
    coalesce(definitions.name, totals.page_label) as page_name,
    totals.device_type,
    totals.browser,
    totals.country,
    totals.vital,
    totals.events,
    totals.p75,
    case
        when totals.p75 <= totals.good_until then 'good'
        when totals.p75 <= totals.bearable_until then 'needs improvement'
        else 'poor'
    end as rating,
    totals.good_events,
    totals.needs_improvement_events,
    totals.poor_events
from totals
left join {{ ref('page_definitions') }} as definitions on totals.page_definition_id = definitions.id
