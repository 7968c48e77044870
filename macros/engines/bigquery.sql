{% macro bigquery__headrace_warehouse_types() -%}
    {{ return({
        'varchar': 'string', 'bigint': 'int64', 'double': 'float64', 'boolean': 'bool', 'timestamptz': 'timestamp'
    }) }}
{%- endmacro %}

{% macro bigquery__headrace_utc_day(column) -%}
    date({{ column }}, 'UTC')
{%- endmacro %}

{% macro bigquery__headrace_local_day(column) -%}
    date({{ column }}, '{{ var("reporting_timezone") }}')
{%- endmacro %}

{% macro bigquery__headrace_period_start(column, period) -%}
    date_trunc({{ column }}, {{ 'isoweek' if period == 'week' else period }})
{%- endmacro %}

{% macro bigquery__headrace_elapsed(start, end, unit) -%}
    datetime_diff(datetime({{ end }}, 'UTC'), datetime({{ start }}, 'UTC'), {{ unit }})
{%- endmacro %}

{% macro bigquery__headrace_parse_json(text) -%}
    {#- A number of more digits than it can hold must not stop the hour. -#}
    parse_json({{ text }}, wide_number_mode => 'round')
{%- endmacro %}

{% macro bigquery__headrace_try_parse_json(text) -%}
    safe.parse_json({{ text }}, wide_number_mode => 'round')
{%- endmacro %}

{% macro bigquery__headrace_json_text(column, path) -%}
    json_value({{ column }}, '${{ json_path(path) }}')
{%- endmacro %}

{% macro bigquery__headrace_json_object(column, path) -%}
    {%- set value = 'json_query(' ~ column ~ ", '$" ~ json_path(path) ~ "')" -%}
    case when json_type({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}

{% macro bigquery__headrace_json_items(column) -%}
    cross join unnest(json_value_array({{ column }})) as item
{%- endmacro %}

{% macro bigquery__headrace_json_item() -%}
    item
{%- endmacro %}

{% macro bigquery__headrace_try_cast(text, data_type) -%}
    safe_cast({{ text }} as {{ warehouse_type(data_type) }})
{%- endmacro %}

{% macro bigquery__headrace_rounded(text) -%}
    safe_cast(round(safe_cast({{ text }} as bignumeric)) as int64)
{%- endmacro %}

{% macro bigquery__headrace_matches(text, pattern) -%}
    regexp_contains({{ text }}, r'^(?:{{ pattern }})$')
{%- endmacro %}

{% macro bigquery__headrace_regexp_replace_all(text, pattern, by) -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ by }}')
{%- endmacro %}

{% macro bigquery__headrace_time_without_offset(text) -%}
    timestamp(safe_cast({{ bigquery__with_seconds(text) }} as datetime), 'UTC')
{%- endmacro %}

{% macro bigquery__headrace_time_with_offset(text) -%}
    safe_cast({{ bigquery__with_seconds(text) }} as timestamp)
{%- endmacro %}

{# It reads no time that lacks them. -#}
{% macro bigquery__with_seconds(text) -%}
    regexp_replace({{ text }}, r'^([^:]*:[0-9]{2})($|[Z+-])', r'\1:00\2')
{%- endmacro %}

{% macro bigquery__headrace_percentile(column, fraction) -%}
    {#- percentile_cont is no aggregate there. -#}
    {%- set values = 'array_agg(' ~ column ~ ' ignore nulls order by ' ~ column ~ ')' -%}
    {%- set place = '(' ~ fraction ~ ' * (count(' ~ column ~ ') - 1))' -%}
    {%- set lower = values ~ '[safe_offset(cast(floor(' ~ place ~ ') as int64))]' -%}
    {%- set upper = values ~ '[safe_offset(cast(ceil(' ~ place ~ ') as int64))]' -%}
    {{ lower }} + ({{ place }} - floor({{ place }})) * ({{ upper }} - {{ lower }})
{%- endmacro %}

{% macro bigquery__headrace_layout(day, filter_by, join_by, data_type) -%}
    {{ return({
        'partition_by': {'field': day, 'data_type': data_type, 'granularity': 'day'},
        'cluster_by': [filter_by, join_by] | unique | list,
    }) }}
{%- endmacro %}

{% macro bigquery__headrace_batch_rows(alias, relation, batch_key) -%}
    {%- if batch_key == 'event_id' -%}
        {{ default__headrace_batch_rows(alias, relation, batch_key) }}
    {%- else -%}
        {#- Asked before the merge, when most of the batch is on no day: what is narrow tells which days to read whole. -#}
        {%- set spans -%}
            select distinct
                {{ utc_day('found.event_time') }} as first_day,
                {{ utc_day('found.event_time') }} as last_day
            from {{ relation }} as found
            inner join {{ ref('event_batch') }} as batch_of_rows on found.event_id = batch_of_rows.{{ batch_key }}
            where {{ batch_days('found.event_time') }}
        {%- endset -%}
        {{ day_ranges(alias ~ '.event_time', spans) }}
    {%- endif -%}
{%- endmacro %}

{% macro bigquery__headrace_delete_rows(rows, day) -%}
    {#- A delete is billed for all columns of each day that it scans, whether it finds something or not. -#}
    {%- if not execute -%}
        delete {{ rows }}
    {%- elif day is none -%}
        {%- if count_rows(rows) > 0 -%}
        delete {{ rows }}
        {%- endif -%}
    {%- else -%}
        {%- set found_day = utc_day(day) -%}
        {%- set found_days = run_query(
            'select distinct ' ~ found_day ~ ' as first_day, ' ~ found_day ~ ' as last_day ' ~ rows ~ ' order by 1'
        ).rows -%}
        {%- if found_days -%}
        delete {{ rows }} and {{ literal_days(day, found_days) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro bigquery__headrace_managed_events_table() -%}
    {{ return('fullstory_events_' ~ var('fullstory_org_id') | replace('-', '_')) }}
{%- endmacro %}

{% macro bigquery__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {%- set meta = config.get('meta') or {} -%}
    {%- set day = meta.prune_by_batch_day or meta.prune_by_touched_day -%}
    {%- set predicates = headrace.with_literal_days(incremental_predicates) -%}
    {%- if not day -%}
        {{- dbt.default__get_merge_sql(target, source, unique_key, dest_columns, predicates) -}}
    {%- else -%}
        {#- An update is billed for all columns of each day that it scans, an insert for none: only days on which there is
            something to update are merged. -#}
        {%- set known_rows -%}
            from {{ target }} as DBT_INTERNAL_DEST
            inner join {{ source }} as DBT_INTERNAL_SOURCE
                on DBT_INTERNAL_DEST.{{ unique_key }} = DBT_INTERNAL_SOURCE.{{ unique_key }}
            where {{ predicates | join(' and ') }}
        {%- endset -%}
        {%- set known_day = utc_day('DBT_INTERNAL_DEST.' ~ day) -%}
        {%- set known_days = run_query(
            'select distinct ' ~ known_day ~ ' as first_day, ' ~ known_day ~ ' as last_day ' ~ known_rows ~ ' order by 1'
        ).rows -%}
        {%- set names = dest_columns | map(attribute='quoted') | list %}
        {%- if known_days %}
        merge into {{ target }} as DBT_INTERNAL_DEST
        using {{ source }} as DBT_INTERNAL_SOURCE
        on
            DBT_INTERNAL_DEST.{{ unique_key }} = DBT_INTERNAL_SOURCE.{{ unique_key }}
            and {{ literal_days('DBT_INTERNAL_DEST.' ~ day, known_days) }}
        when matched then update set
            {%- for name in names %}
            {{ name }} = DBT_INTERNAL_SOURCE.{{ name }}{{ ',' if not loop.last }}
            {%- endfor %};
        {%- endif %}

        insert into {{ target }} ({{ names | join(', ') }})
        select {{ names | join(', ') }}
        from {{ source }} as DBT_INTERNAL_SOURCE
        where not exists (
            select 1
            from {{ target }} as DBT_INTERNAL_DEST
            where
                DBT_INTERNAL_DEST.{{ unique_key }} = DBT_INTERNAL_SOURCE.{{ unique_key }}
                and {{ predicates | join(' and ') }}
        );
    {%- endif -%}
{%- endmacro %}

{% macro bigquery__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'json' and field is string else dbt.bigquery__safe_cast(field, type) }}
{%- endmacro %}

{% macro bigquery__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.bigquery__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}
