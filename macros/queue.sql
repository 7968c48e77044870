{% macro event_content() -%}
    {{ return({'event_properties': 'json', 'source_properties': 'json'}) }}
{%- endmacro %}


{% macro event_stamps() -%}
    {{ return({
        '_page_stamp': 'varchar', '_element_stamp': 'varchar', '_event_stamp': 'varchar', '_matcher_version': 'bigint'
    }) }}
{%- endmacro %}


{% macro unstamped(columns) -%}
    {%- set stamps = {'event_properties': ['_event_stamp', '_element_stamp'], 'source_properties': ['_page_stamp']} -%}
    {%- set texts = [] -%}
    {%- for column in columns -%}
        {%- do texts.append(column) -%}
        {%- for stamp in stamps.get(column, []) -%}
            {%- set text = texts.pop() -%}
            {%- do texts.append(
                'case when ' ~ stamp ~ ' is null then ' ~ text ~ ' else replace(' ~ text ~ ', ' ~ stamp ~ ", '') end"
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(texts) }}
{%- endmacro %}


{% macro landed(table) -%}
    {%- set relation = source('loader', table) -%}
    {%- if not execute or relation.is_cte -%}
        {{ relation }}
    {%- else -%}
        {%- set declared = graph.sources.values() | selectattr('source_name', 'equalto', 'loader')
            | selectattr('name', 'equalto', table) | map(attribute='columns') | first -%}
        {%- set landed = load_relation(relation) -%}
        {%- set present = {} -%}
        {%- for column in (adapter.get_columns_in_relation(landed) if landed is not none else []) -%}
            {%- do present.update({column.name | lower: column}) -%}
        {%- endfor -%}
        {%- set other = [] -%}
        {%- set columns = [] -%}
        {%- for column in declared.values() -%}
            {%- set value = as_declared(column, present[column.name]) if column.name in present
                else 'cast(null as ' ~ warehouse_type(column.data_type) ~ ')' -%}
            {%- do columns.append(value ~ ' as ' ~ column.name) -%}
            {%- if value != column.name -%}
                {%- do other.append(column.name) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if not other -%}
            {{ relation }}
        {%- else -%}
        (
            select
                {{ columns | join(',\n                ') }}
            {{ 'from ' ~ relation ~ ' as present' if present else 'limit 0' }}
        )
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro built(model_name) -%}
    {%- if execute -%}
        {%- set node = graph.nodes['model.headrace.' ~ model_name] -%}
        {{ return(adapter.get_relation(node.database, node.schema, node.alias)) }}
    {%- endif -%}
{%- endmacro %}


{% macro made_by_loader(table) -%}
    {#- A unit test's graph has no sources. -#}
    {%- if execute and graph.sources is defined -%}
        {%- set declared = graph.sources['source.headrace.loader.' ~ table] -%}
        {{ return(adapter.get_relation(declared.database, declared.schema, declared.identifier)) }}
    {%- endif -%}
{%- endmacro %}


{% macro requests() -%}
    {%- set redo = made_by_loader('redo') -%}
    {%- if redo and built('batch_loads') -%}
        {{ return(day_spans(
            'select first_day, last_day, device_id from ' ~ redo
            ~ ' where request_id in (select load_id from ' ~ built('batch_loads') ~ ')'
        )) }}
    {%- endif -%}
    {{ return([]) }}
{%- endmacro %}


{% macro is_requested(rows) -%}
    {%- set spans, devices = [], [] -%}
    {%- for first_day, last_day, device_id in requests() -%}
        {%- do spans.append((first_day, last_day)) -%}
        {%- do devices.append(device_id) -%}
    {%- endfor -%}
    {{ literal_days(rows ~ '.event_time', spans) }}
    {%- if devices and none not in devices %}
        and {{ rows }}.device_id in ({{ devices | unique | join(', ') }})
    {%- endif -%}
{%- endmacro %}


{% macro unless_skipped(rows, columns) -%}
    {%- set skipped = made_by_loader('skipped') -%}
    {%- if not skipped -%}
        1 = 1
    {%- else -%}
        {%- for column in columns %}
            {{- ' and ' if not loop.first -}}
            coalesce({{ rows }}.{{ column }}, '') not in (select skipped.name from {{ skipped }} as skipped)
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{% macro count_rows(sql) -%}
    {{ return(run_query('select count(*) ' ~ sql).rows[0][0]) }}
{%- endmacro %}


{% macro managed_events() -%}
    {%- set relation = source('managed', 'events') -%}
    {{ return(relation if (var('managed_events') or {}).get('table') else relation.incorporate(path={
        'identifier': managed_events_table()
    })) }}
{%- endmacro %}


{% test unique_in_batch(model, column_name, day, delivered) %}
{%- set newer -%}
from {{ delivered }} as delivered
where
    _is_updated
    and (event_type is not null or _known_event_id is null)
{%- endset %}
select {{ column_name }}
from {{ model }}
where
    {{ column_name }} in (select {{ column_name }} from {{ ref('event_batch') }})
    {%- if not (execute and built('delivered_events') and count_rows(newer) > 0) %}
    and {{ batch_days(day) }}
    {%- endif %}
group by {{ column_name }}
having count(*) > 1
{% endtest %}


{% test unique_in_tables(model, keys) %}
{#- One query, not one of each table: a warehouse takes as long to begin one as to answer it. -#}
{%- for name, key in keys.items() %}
select '{{ name }}' as table_name
from {{ ref(name) }} as table_rows
where
    {{ key.columns[0] }} in (select {{ key.columns[0] }} from {{ model }})
    {%- if key.batch_day %}
    and {{ batch_days(key.batch_day) }}
    {%- elif key.touched_day %}
    and {{ in_touched_days(key.touched_day) }}
    {%- elif key.session_day %}
    and {{ in_touched_sessions(key.session_day) }}
    {%- elif key.touched_date %}
    and {{ in_touched_dates(key.touched_date) }}
    {%- endif %}
group by {{ key.columns | join(', ') }}
having count(*) > 1
{{ 'union all' if not loop.last }}
{%- endfor %}
{% endtest %}


{% test unique_together(model, columns) %}
select
    {{ columns | join(',\n    ') }}
from {{ model }}
group by
    {{ columns | join(',\n    ') }}
having count(*) > 1
{% endtest %}


{% test loaded_within(model, column_name, hours) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} < cast({{ dbt.dateadd('hour', -hours, dbt.current_timestamp()) }} as {{ type_timestamptz() }})
{% endtest %}


{% test nothing_rejected(model) %}
select
    rejected.file,
    rejected.position,
    rejected.reason
from {{ landed('rejected_events') }} as rejected
inner join
    (
        {#- A file that was read again since then says anew what is wrong with it. -#}
        select
            files.path,
            max(files._dlt_load_id) as load_id
        from {{ landed('loaded_files') }} as files
        inner join {{ model }} as loads on files._dlt_load_id = loads.load_id
        where coalesce(files.row_count, 0) + coalesce(files.rejected, 0) > 0
        group by files.path
    ) as latest
    on rejected.file = latest.path and rejected._dlt_load_id = latest.load_id
{% endtest %}


{% macro purge_queue(results) -%}
    {%- set loads = ref('batch_loads') -%}
    {%- set cursor = ref('managed_cursor') if var('managed_events') -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {#- Only what is ours counts: in a project that imports this one, a model or test of the user's own keeps no queue.
            The list grows while the loop reads it: that is the walk down the graph. -#}
        {%- set downstream = ['model.headrace.batch_loads'] -%}
        {%- if cursor -%}
            {%- do downstream.append('model.headrace.managed_cursor') -%}
        {%- endif -%}
        {%- for parent in downstream -%}
            {%- for id, node in graph.nodes.items()
                if node.resource_type == 'model' and node.package_name == 'headrace'
                and parent in node.depends_on.nodes and id not in downstream -%}
                {%- do downstream.append(id) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- set done = [] -%}
        {%- set failed = [] -%}
        {%- for result in results if result.node.package_name == 'headrace' -%}
            {%- if result.status in ('success', 'pass', 'warn', 'no-op') -%}
                {%- do done.append(result.node.unique_id) -%}
            {#- What is skipped after a failure of the user's own has not failed; a table that is, is missing below. -#}
            {%- elif result.status != 'skipped' -%}
                {%- do failed.append(result.node.unique_id) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set missing = [] -%}
        {#- A view holds no rows of the batch. -#}
        {%- for id in downstream
            if id not in done and graph.nodes[id].config.materialized not in ('ephemeral', 'view') -%}
            {%- do missing.append(id) -%}
        {%- endfor -%}
        {%- if failed or missing -%}
            {%- do log('The queue keeps its batch: the next whole, green build merges it again.', info=true) -%}
            {%- set own_tests = results | selectattr('status', 'equalto', 'fail') | map(attribute='node')
                | rejectattr('package_name', 'equalto', 'headrace') | map(attribute='name') | list -%}
            {%- if own_tests and not failed -%}
                {%- do log(
                    'dbt left out tables of headrace after a test of your own, ' ~ own_tests | join(', ')
                    ~ ': with `severity: warn` it stops no build.', info=true
                ) -%}
            {%- endif -%}
        {%- else -%}
            {#- Marked first: a load that is marked is never read again, so a kill between the two loses nothing. -#}
            {%- if load_relation(source('loader', 'loaded_files')) is not none -%}
                {%- do run_query(
                    'update ' ~ source('loader', 'loaded_files') ~ ' set is_merged = true where _dlt_load_id in'
                    ~ ' (select load_id from ' ~ loads ~ ')'
                ) -%}
                {%- for table in ('raw_events', 'raw_definitions')
                    if load_relation(source('loader', table)) is not none -%}
                    {%- do run_query(
                        'delete from ' ~ source('loader', table) ~ ' where _dlt_load_id in'
                        ~ ' (select _dlt_load_id from ' ~ source('loader', 'loaded_files') ~ ' where is_merged)'
                    ) -%}
                {%- endfor -%}
                {%- if load_relation(source('loader', 'rejected_events')) is not none -%}
                    {%- set age = modules.datetime.timedelta(days=var('rejected_retention_days')) -%}
                    {%- set kept_since = run_started_at - age -%}
                    {%- do run_query(
                        'delete from ' ~ source('loader', 'rejected_events') ~ ' where _dlt_load_id in'
                        ~ ' (select load_id from ' ~ source('loader', '_dlt_loads') ~ ' where inserted_at < '
                        ~ timestamptz(kept_since.strftime('%Y-%m-%d %H:%M:%S')) ~ ')'
                    ) -%}
                {%- endif -%}
            {%- endif -%}
            {%- if requests() -%}
                {%- do run_query(
                    'delete from ' ~ made_by_loader('redo') ~ ' where request_id in (select load_id from ' ~ loads ~ ')'
                ) -%}
            {%- endif -%}
            {%- if cursor -%}
                {%- do run_query(
                    'update ' ~ cursor ~ " set merged_until = batch_until where events_table = '"
                    ~ managed_events() ~ "'"
                ) -%}
            {%- endif -%}
            {%- do run_query('delete from ' ~ built('touched') ~ ' where 1 = 1') -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
