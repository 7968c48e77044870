{% macro retention(period, start='1 = 1', back='1 = 1', where=none) -%}
    {%- if period not in ('day', 'week', 'month') -%}
        {{ exceptions.raise_compiler_error("retention: period is day, week or month, not " ~ period) }}
    {%- endif -%}

with events as (
    {{ headrace.events_of_users() | indent(4) }}
),

visits as (
    select
        known_user_id,
        event_time,
        {{ headrace.period_start(headrace.local_day('event_time'), period) }} as visit_period,
        case when {{ start }} then 1 else 0 end as is_start,
        case when {{ back }} then 1 else 0 end as is_back
    from events
    {%- if where %}
    where {{ where }}
    {%- endif %}
),

starts as (
    select
        known_user_id,
        min(event_time) as start_time,
        min(visit_period) as cohort
    from visits
    where is_start = 1
    group by known_user_id
),

cohorts as (
    select
        cohort,
        count(*) as users
    from starts
    group by cohort
),

periods as (
    select distinct visit_period
    from visits
    where is_start = 1 or is_back = 1
),

returns as (
    select
        starts.cohort,
        visits.visit_period,
        count(distinct visits.known_user_id) as returned
    from visits
    inner join starts on visits.known_user_id = starts.known_user_id
    where
        visits.is_back = 1
        and visits.event_time >= starts.start_time
    group by starts.cohort, visits.visit_period
)

select
    cohorts.cohort,
    {{ dbt.datediff('cohorts.cohort', 'periods.visit_period', period) }} as {{ period }}s_later,
    cohorts.users,
    coalesce(returns.returned, 0) as returned,
    1.0 * coalesce(returns.returned, 0) / cohorts.users as share
from cohorts
inner join periods on cohorts.cohort <= periods.visit_period
left join returns
    on cohorts.cohort = returns.cohort and periods.visit_period = returns.visit_period
order by 1, 2
{%- endmacro %}
