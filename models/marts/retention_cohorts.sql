{%- set steps, retentions = steps_of_people(), told_retentions() -%}
{%- set sessions, session_days = ref('sessions'), ref('int_session_days') -%}
{%- set bigint, varchar, date = warehouse_type('bigint'), warehouse_type('varchar'), warehouse_type('date') -%}
{%- if not retentions -%}
select
    cast(null as {{ varchar }}) as retention_name,
    cast(null as {{ date }}) as cohort,
    cast(null as {{ varchar }}) as device_type,
    cast(null as {{ varchar }}) as channel,
    cast(null as {{ bigint }}) as periods_later,
    cast(null as {{ bigint }}) as users,
    cast(null as {{ bigint }}) as returned
from {{ ref('int_steps') }}
where 1 = 0
{%- else -%}
with steps as (
    {{ steps | indent(4) }}
),

-- Whoever has a session on a day was there, whatever they did.
visits as (
    select
        sessions.user_id,
        sessions.full_session_id as event_id,
        sessions.start_time as event_time,
        session_days.day,
        coalesce(sessions.last_device_type, '(not set)') as device_type,
        coalesce(sessions.channel, '(not set)') as channel
    from {{ sessions }} as sessions
    inner join {{ session_days }} as session_days on sessions.full_session_id = session_days.full_session_id
    where
        not sessions.is_bot
        and not sessions.is_internal
)
{%- for retention in retentions %}
{%- set name, period = 'retention_' ~ loop.index, retention.period %},

{{ name }}_starts as (
    select
        user_id,
        event_time,
        day,
        device_type,
        channel,
        row_number() over (
            partition by user_id
            order by event_time, day, event_id
        ) as place
    {%- if retention.start %}
    from steps
    where
        step_name = {{ text_literal(retention.start) }}
        and user_id is not null
    {%- else %}
    from visits
    {%- endif %}
),

{{ name }}_users as (
    select
        user_id,
        event_time,
        day,
        {{ period_start('day', period) }} as cohort,
        device_type,
        channel
    from {{ name }}_starts
    where place = 1
),

{{ name }}_back as (
    select
        user_id,
        day,
        {{ period_start('day', period) }} as period,
        {{ 'event_time' if retention.back else 'cast(null as ' ~ warehouse_type('timestamptz') ~ ') as event_time' }}
    {%- if retention.back %}
    from steps
    where
        step_name = {{ text_literal(retention.back) }}
        and user_id is not null
    {%- else %}
    from visits
    {%- endif %}
),

{{ name }}_cohorts as (
    select
        cohort,
        device_type,
        channel,
        count(*) as users
    from {{ name }}_users
    group by cohort, device_type, channel
),

{{ name }}_told_periods as (
    select period
    from {{ name }}_back
    union all
    select cohort as period
    from {{ name }}_users
),

{{ name }}_periods as (
    select distinct period
    from {{ name }}_told_periods
),

{{ name }}_returns as (
    select
        users.cohort,
        users.device_type,
        users.channel,
        back.period,
        count(distinct back.user_id) as returned
    from {{ name }}_back as back
    inner join {{ name }}_users as users on back.user_id = users.user_id
    where
        back.day >= users.day
        and (back.event_time >= users.event_time or back.event_time is null)
    group by users.cohort, users.device_type, users.channel, back.period
)
{%- endfor %}
{% for retention in retentions %}
{%- set name, period = 'retention_' ~ loop.index, retention.period %}
select
    cast({{ text_literal(retention.name) }} as {{ varchar }}) as retention_name,
    cohorts.cohort,
    cohorts.device_type,
    cohorts.channel,
    cast({{ dbt.datediff('cohorts.cohort', 'periods.period', period) }} as {{ bigint }}) as periods_later,
    cohorts.users,
    coalesce(returns.returned, 0) as returned
from {{ name }}_cohorts as cohorts
inner join {{ name }}_periods as periods on cohorts.cohort <= periods.period
left join {{ name }}_returns as returns
    on
        cohorts.cohort = returns.cohort
        and cohorts.device_type = returns.device_type
        and cohorts.channel = returns.channel
        and periods.period = returns.period
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endif %}
