{# Every difference between the warehouses' merges and times is in this file. #}

{% macro warehouse_type(data_type) -%}
    {{ return(headrace.warehouse_types().get(data_type, data_type)) }}
{%- endmacro %}


{% macro warehouse_types() -%}
    {{ return(adapter.dispatch('warehouse_types', 'headrace')()) }}
{%- endmacro %}

{% macro default__warehouse_types() -%}
    {{ return({}) }}
{%- endmacro %}

{% macro bigquery__warehouse_types() -%}
    {{ return({
        'varchar': 'string', 'bigint': 'int64', 'double': 'float64', 'boolean': 'bool', 'timestamptz': 'timestamp'
    }) }}
{%- endmacro %}

{% macro snowflake__warehouse_types() -%}
    {{ return({'bigint': 'number(38, 0)', 'double': 'float', 'timestamptz': 'timestamp_ntz', 'json': 'variant'}) }}
{%- endmacro %}

{% macro redshift__warehouse_types() -%}
    {#- In a table, varchar alone would be 256 bytes. -#}
    {{ return({'varchar': 'varchar(65535)', 'double': 'double precision', 'json': 'super'}) }}
{%- endmacro %}


{% macro in_warehouse_types(columns) -%}
    {%- set typed = {} -%}
    {%- for name, column in columns.items() -%}
        {%- do typed.update({name: dict(column, data_type=headrace.warehouse_type(column.data_type))}) -%}
    {%- endfor -%}
    {{ return(typed) }}
{%- endmacro %}

{% macro default__get_empty_schema_sql(columns) -%}
    {{ return(dbt.default__get_empty_schema_sql(headrace.in_warehouse_types(columns))) }}
{%- endmacro %}

{% macro default__get_table_columns_and_constraints() -%}
    (
        {{ adapter.render_raw_columns_constraints(raw_columns=headrace.in_warehouse_types(model['columns'])) | join(',\n') }}
    )
{%- endmacro %}


{% macro type_timestamptz() -%}
    {{ return(warehouse_type('timestamptz')) }}
{%- endmacro %}


{% macro as_declared(column, landed) -%}
    {{ return(adapter.dispatch('as_declared', 'headrace')(column, landed)) }}
{%- endmacro %}

{% macro default__as_declared(column, landed) -%}
    {{ return(column.name) }}
{%- endmacro %}

{% macro snowflake__as_declared(column, landed) -%}
    {%- if column.data_type == 'timestamptz' and landed.dtype != 'TIMESTAMP_NTZ' -%}
        {{ return("cast(convert_timezone('UTC', " ~ column.name ~ ') as ' ~ type_timestamptz() ~ ')') }}
    {%- endif -%}
    {{ return(column.name) }}
{%- endmacro %}


{% macro timestamptz(text) -%}
    cast('{{ text }}+00:00' as {{ type_timestamptz() }})
{%- endmacro %}


{% macro now() -%}
    {{ return(adapter.dispatch('now', 'headrace')()) }}
{%- endmacro %}

{% macro default__now() -%}
    cast({{ dbt.current_timestamp() }} as {{ type_timestamptz() }})
{%- endmacro %}

{% macro snowflake__now() -%}
    sysdate()
{%- endmacro %}


{% macro utc_day(column) -%}
    {{ return(adapter.dispatch('utc_day', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__utc_day(column) -%}
    {#- Never by the session's time zone: the days become UTC literals. -#}
    cast({{ column }} at time zone 'UTC' as date)
{%- endmacro %}

{% macro duckdb__utc_day(column) -%}
    {#- `at time zone` asks a calendar for each row, which takes 15 times as long. -#}
    cast(make_timestamp(epoch_us({{ column }})) as date)
{%- endmacro %}

{% macro bigquery__utc_day(column) -%}
    date({{ column }}, 'UTC')
{%- endmacro %}

{% macro snowflake__utc_day(column) -%}
    cast({{ column }} as date)
{%- endmacro %}


{% macro local_day(column) -%}
    {%- if var('reporting_timezone') == 'UTC' -%}
        {{ return(utc_day(column)) }}
    {%- endif -%}
    {{ return(adapter.dispatch('local_day', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__local_day(column) -%}
    cast({{ column }} at time zone '{{ var("reporting_timezone") }}' as date)
{%- endmacro %}

{% macro bigquery__local_day(column) -%}
    date({{ column }}, '{{ var("reporting_timezone") }}')
{%- endmacro %}

{% macro snowflake__local_day(column) -%}
    cast(convert_timezone('UTC', '{{ var("reporting_timezone") }}', {{ column }}) as date)
{%- endmacro %}


{% macro period_start(column, period) -%}
    {{ return(adapter.dispatch('period_start', 'headrace')(column, period)) }}
{%- endmacro %}

{% macro default__period_start(column, period) -%}
    {#- Weeks begin on Monday. -#}
    cast({{ dbt.date_trunc(period, column) }} as date)
{%- endmacro %}

{% macro bigquery__period_start(column, period) -%}
    date_trunc({{ column }}, {{ 'isoweek' if period == 'week' else period }})
{%- endmacro %}


{% macro elapsed(start, end, unit) -%}
    {{ return(adapter.dispatch('elapsed', 'headrace')(start, end, unit)) }}
{%- endmacro %}

{% macro default__elapsed(start, end, unit) -%}
    {{ return(dbt.datediff(start, end, unit) | trim) }}
{%- endmacro %}

{# Not by the clock of the session's zone, which may be put forward between the two. -#}
{% macro duckdb__elapsed(start, end, unit) -%}
    date_diff('{{ unit }}', make_timestamp(epoch_us({{ start }})), make_timestamp(epoch_us({{ end }})))
{%- endmacro %}

{% macro bigquery__elapsed(start, end, unit) -%}
    datetime_diff(datetime({{ end }}, 'UTC'), datetime({{ start }}, 'UTC'), {{ unit }})
{%- endmacro %}

{% macro redshift__elapsed(start, end, unit) -%}
    {#- datediff takes no timestamptz there. -#}
    {{ return(dbt.datediff('(' ~ start ~ " at time zone 'UTC')", '(' ~ end ~ " at time zone 'UTC')", unit) | trim) }}
{%- endmacro %}


{% macro percentile(column, fraction) -%}
    {#- Of halves: the difference of two doubles may be more than a double holds. -#}
    2 * ({{ adapter.dispatch('percentile', 'headrace')(column ~ ' / 2', fraction) }})
{%- endmacro %}

{% macro default__percentile(column, fraction) -%}
    percentile_cont({{ fraction }}) within group (order by {{ column }})
{%- endmacro %}

{% macro bigquery__percentile(column, fraction) -%}
    {#- percentile_cont is no aggregate there. -#}
    {%- set values = 'array_agg(' ~ column ~ ' ignore nulls order by ' ~ column ~ ')' -%}
    {%- set place = '(' ~ fraction ~ ' * (count(' ~ column ~ ') - 1))' -%}
    {%- set lower = values ~ '[safe_offset(cast(floor(' ~ place ~ ') as int64))]' -%}
    {%- set upper = values ~ '[safe_offset(cast(ceil(' ~ place ~ ') as int64))]' -%}
    {{ lower }} + ({{ place }} - floor({{ place }})) * ({{ upper }} - {{ lower }})
{%- endmacro %}


{% macro rows_ordered_by(column) -%}
    {{ return(adapter.dispatch('rows_ordered_by', 'headrace')(column)) }}
{%- endmacro %}

{% macro default__rows_ordered_by(column) -%}{%- endmacro %}

{% macro duckdb__rows_ordered_by(column) -%}
    order by {{ column }}
{%- endmacro %}


{% macro layout(day, filter_by, join_by, data_type='timestamp') -%}
    {{ return(adapter.dispatch('layout', 'headrace')(day, filter_by, join_by, data_type)) }}
{%- endmacro %}

{% macro default__layout(day, filter_by, join_by, data_type) -%}
    {{ return({}) }}
{%- endmacro %}

{% macro bigquery__layout(day, filter_by, join_by, data_type) -%}
    {{ return({
        'partition_by': {'field': day, 'data_type': data_type, 'granularity': 'day'},
        'cluster_by': [filter_by, join_by] | unique | list,
    }) }}
{%- endmacro %}

{% macro snowflake__layout(day, filter_by, join_by, data_type) -%}
    {{ return({'cluster_by': ['cast(' ~ day ~ ' as date)']}) }}
{%- endmacro %}

{% macro redshift__layout(day, filter_by, join_by, data_type) -%}
    {{ return({'sort': day, 'dist': join_by}) }}
{%- endmacro %}


{% macro managed_events_table() -%}
    {{ return(adapter.dispatch('managed_events_table', 'headrace')()) }}
{%- endmacro %}

{% macro default__managed_events_table() -%}
    {{ return('events') }}
{%- endmacro %}

{% macro bigquery__managed_events_table() -%}
    {{ return('fullstory_events_' ~ var('fullstory_org_id') | replace('-', '_')) }}
{%- endmacro %}


{% macro differs(one, other) -%}
    (
        {{ one }} <> {{ other }}
        or ({{ one }} is null and {{ other }} is not null)
        or ({{ one }} is not null and {{ other }} is null)
    )
{%- endmacro %}


{% macro hash_of(columns) -%}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- set size = 'cast(' ~ dbt.length(column) ~ ' as ' ~ dbt.type_string() ~ ')' -%}
        {%- do parts.append('coalesce(' ~ dbt.concat([size, "':'", column]) ~ ", '-')") -%}
    {%- endfor -%}
    {{ dbt.hash(dbt.concat(parts)) }}
{%- endmacro %}


{% macro day_ranges(column, spans) -%}
    {{ return(literal_days(column, day_spans(spans) if execute else [])) }}
{%- endmacro %}


{% macro day_spans(spans) -%}
    {#- Asked once in a run of dbt, whose nodes have nothing in common but the graph: who asks comes after what it asks. -#}
    {%- set known = graph.setdefault('headrace_day_spans_' ~ invocation_id, {}) -%}
    {%- if spans not in known -%}
        {%- do known.update({spans: run_query(spans ~ '\norder by 1, 2').rows}) -%}
    {%- endif -%}
    {{ return(known[spans]) }}
{%- endmacro %}


{% macro literal_days(column, spans) -%}
    {%- set ranges = [] -%}
    {%- for first_day, last_day in spans if first_day is not none -%}
        {%- if ranges and first_day.toordinal() <= ranges[-1][1].toordinal() + 1 -%}
            {%- set last_range = ranges.pop() -%}
            {%- do ranges.append((last_range[0], [last_range[1], last_day] | max)) -%}
        {%- else -%}
            {%- do ranges.append((first_day, last_day)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if spans | length == 0 -%}
        {{ column }} < {{ timestamptz('0001-01-01 00:00:00') }}
    {%- else -%}
        (
        {%- for first_day, last_day in ranges %}
            {{ column }} between {{ timestamptz(first_day ~ ' 00:00:00') }}
            and {{ timestamptz(last_day ~ ' 23:59:59.999999') }} or
        {%- endfor %}
            {{ column }} is null
        )
    {%- endif -%}
{%- endmacro %}


{% macro batch_days(column) -%}
    {%- set batch = ref('event_batch') -%}
    {%- if not execute or batch.is_cte or load_relation(batch) is none -%}
        1 = 1
    {%- else -%}
        {{ day_ranges(column, days_in('event_time', batch)) }}
    {%- endif -%}
{%- endmacro %}


{% macro in_touched_days(column) -%}
    {{ return(in_touched(column, spans_of_touched_days())) }}
{%- endmacro %}


{% macro in_touched_sessions(column) -%}
    {{ return(in_touched(column, spans_of_touched_sessions())) }}
{%- endmacro %}


{% macro in_touched(column, spans) -%}
    {%- set touched = ref('touched') -%}
    {%- if not execute or touched.is_cte or load_relation(touched) is none -%}
        1 = 1
    {%- else -%}
        {{ day_ranges(column, spans) }}
    {%- endif -%}
{%- endmacro %}


{% macro in_touched_dates(column) -%}
    {%- set touched = ref('touched') -%}
    {%- if not execute or touched.is_cte or load_relation(touched) is none -%}
        1 = 1
    {%- else -%}
        {%- set days = day_spans('select distinct day as first_day, day as last_day from ' ~ touched ~ ' where day is not null') -%}
        {%- for first_day, _ in days %}
            {{- column ~ ' in (' if loop.first -}}
            cast('{{ first_day }}' as date)
            {{- ', ' if not loop.last else ')' -}}
        {%- else -%}
            1 = 0
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{% macro spans_of_touched_days() -%}
    select distinct
        touched.first_day,
        touched.last_day
    from {{ ref('touched') }} as touched
    where touched.day is not null
    {#- An event of an unknown time has no day. #}
    union all
    select
        cast(null as date) as first_day,
        cast(null as date) as last_day
{%- endmacro %}


{% macro spans_of_touched_sessions() -%}
    select distinct
        touched.first_day,
        touched.last_day
    from {{ ref('touched') }} as touched
    where touched.full_session_id is not null
    union all
    select
        cast(null as date) as first_day,
        cast(null as date) as last_day
{%- endmacro %}


{% macro batch_rows(alias, relation, batch_key) -%}
    {{ return(adapter.dispatch('batch_rows', 'headrace')(alias, relation, batch_key)) }}
{%- endmacro %}

{% macro default__batch_rows(alias, relation, batch_key) -%}
    {{ batch_days(alias ~ '.event_time') }}
{%- endmacro %}

{% macro bigquery__batch_rows(alias, relation, batch_key) -%}
    {%- if batch_key == 'event_id' -%}
        {{ default__batch_rows(alias, relation, batch_key) }}
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

{% macro duckdb__batch_rows(alias, relation, batch_key) -%}
    {%- set batch = ref('event_batch') -%}
    {%- set found = load_relation(relation) if execute and not batch.is_cte -%}
    {%- if not found or found.is_view -%}
        {{ default__batch_rows(alias, relation, batch_key) }}
    {%- else -%}
        {{ alias }}.rowid in (
            select found.rowid
            from {{ relation }} as found
            inner join {{ batch }} as batch_of_rows on found.event_id = batch_of_rows.{{ batch_key }}
            where {{ batch_days('found.event_time') | indent(8) }}
        )
    {%- endif -%}
{%- endmacro %}


{% macro days_in(column, relation) -%}
    select distinct
        {{ utc_day(column) }} as first_day,
        {{ utc_day(column) }} as last_day
    from {{ relation }} as relation_of_days
{%- endmacro %}


{% macro with_literal_days(predicates) -%}
    {%- set meta = config.get('meta') or {} -%}
    {%- set days = [] -%}
    {%- if meta.prune_by_batch_day -%}
        {%- do days.append(batch_days('DBT_INTERNAL_DEST.' ~ meta.prune_by_batch_day)) -%}
    {%- elif meta.prune_by_touched_day -%}
        {%- do days.append(in_touched_days('DBT_INTERNAL_DEST.' ~ meta.prune_by_touched_day)) -%}
    {%- elif meta.prune_by_session_day -%}
        {%- do days.append(in_touched_sessions('DBT_INTERNAL_DEST.' ~ meta.prune_by_session_day)) -%}
    {%- elif meta.prune_by_date -%}
        {%- do days.append(in_touched_dates('DBT_INTERNAL_DEST.' ~ meta.prune_by_date)) -%}
    {%- endif -%}
    {{ return((predicates or []) + days) }}
{%- endmacro %}

{% macro duckdb__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.duckdb__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
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

{% macro snowflake__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.snowflake__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro redshift__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.redshift__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}


{% macro delete_stale(key, touched, within='1 = 1', day=none) -%}
    {%- set stale -%}
    from {{ this }}
    where {{ key }} in (select {{ key }} from {{ touched }})
        and _invocation_id <> '{{ invocation_id }}'
        and {{ within }}
    {%- endset -%}
    {{ return(delete_rows(stale, day)) }}
{%- endmacro %}


{% macro delete_rows(rows, day=none) -%}
    {{ return(adapter.dispatch('delete_rows', 'headrace')(rows, day)) }}
{%- endmacro %}

{% macro default__delete_rows(rows, day) -%}
    delete {{ rows }}
{%- endmacro %}

{% macro bigquery__delete_rows(rows, day) -%}
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
