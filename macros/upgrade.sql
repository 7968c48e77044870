{% macro renew_outdated_tables() -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- do refuse_tables_of_a_newer_version() -%}
        {%- do add_missing_columns() -%}
        {%- if not flags.FULL_REFRESH -%}
            {%- do drop_outdated_tables() -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro version_of_headrace() -%}
    {{ return('0.1.0') }}
{%- endmacro %}


{% macro refuse_tables_of_a_newer_version() -%}
    {#- A sync has looked, and says so: its builds need no statement for that. -#}
    {%- set versions = none if 'HEADRACE_SYNC' in dbt_metadata_envs else made_by_loader('versions') -%}
    {%- if versions -%}
        {%- set here = numbers_of(version_of_headrace()) -%}
        {%- for row in run_query('select version from ' ~ versions).rows if numbers_of(row[0]) > here -%}
            {%- do exceptions.raise_compiler_error(
                'headrace ' ~ row[0] ~ ' has written to ' ~ versions.schema ~ ', and these models are of '
                ~ version_of_headrace() ~ ', which does not know its tables: take those of ' ~ row[0]
                ~ ' or newer; docs/upgrade.md says how to go back'
            ) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{% macro numbers_of(version) -%}
    {{ return(modules.re.findall('[0-9]+', version)[:3] | map('int') | list) }}
{%- endmacro %}


{% macro forget_built_views() -%}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- set relation = made_by_loader('built_views') -%}
        {%- if relation -%}
            {#- In a transaction, or in the one that reading columns has begun, where the warehouse has such. -#}
            {%- call statement('forget_built_views', auto_begin=true) -%}
                update {{ relation }} set made_from = '' where made_from <> ''
            {%- endcall -%}
            {%- do adapter.commit() -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{% macro columns_that_lack(model_name, relation) -%}
    {%- set present = [] -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
        {%- do present.append(column.name | lower) -%}
    {%- endfor -%}
    {%- set lacking = [] -%}
    {%- for name, column in graph.nodes['model.headrace.' ~ model_name].columns.items() if name not in present -%}
        {%- do lacking.append(column) -%}
    {%- endfor -%}
    {{ return(lacking) }}
{%- endmacro %}


{% macro add_missing_columns() -%}
    {#- Their models compare each column with what is there, so that dbt's on_schema_change would come too late. -#}
    {#- Of the lookups page_definitions goes last: while it has all columns, so have the others. -#}
    {%- set names = ['events'] -%}
    {%- set pages = built('page_definitions') -%}
    {%- if pages is not none and columns_that_lack('page_definitions', pages) -%}
        {%- do names.extend(['event_definitions', 'element_definitions', 'page_definitions']) -%}
    {%- endif -%}
    {%- for name in names if built(name) is not none and not built(name).is_view -%}
        {%- set lacking = columns_that_lack(name, built(name)) -%}
        {%- if lacking -%}
            {%- set added = [] -%}
            {%- for column in lacking -%}
                {%- do added.append(api.Column(column.name, warehouse_type(column.data_type))) -%}
            {%- endfor -%}
            {%- do alter_relation_add_remove_columns(built(name), added, none) -%}
            {%- if name == 'events' -%}
                {%- do fill_earlier_events(lacking | map(attribute='name') | list) -%}
            {%- endif -%}
            {#- Reading the columns has begun a transaction, where the warehouse has such. -#}
            {%- do adapter.commit() -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}


{% macro fill_earlier_events(columns) -%}
    {%- set events = built('events') -%}
    {%- set meant = {'_source_event_id': 'event_id', '_is_reordered': 'false'} -%}
    {%- for name in columns if name in meant -%}
        {%- do run_query('update ' ~ events ~ ' set ' ~ name ~ ' = ' ~ meant[name] ~ ' where ' ~ name ~ ' is null') -%}
    {%- endfor -%}
{%- endmacro %}


{% macro drop_outdated_tables() -%}
    {%- set parsed = graph.nodes['model.headrace.int_parsed_events'] -%}
    {%- set tables = graph.nodes.values()
        | selectattr('package_name', 'equalto', 'headrace')
        | selectattr('resource_type', 'equalto', 'model')
        | selectattr('config.materialized', 'equalto', 'incremental')
        | rejectattr('config.full_refresh', 'equalto', false)
        | rejectattr('unique_id', 'equalto', parsed.unique_id) | list -%}
    {%- set added = var('event_catalogue_additions').values() | sum(start=[]) | map(attribute='name') | list -%}
    {%- set signs = [] -%}
    {%- for name in ('int_parsed_events', 'int_page_views') if built(name) is not none -%}
        {%- do signs.extend(columns_that_lack(name, built(name)) | rejectattr('name', 'in', added)) -%}
    {%- endfor -%}
    {%- if built('int_parsed_events') is none -%}
        {#- What is made from it is there without it: by a version that had no such table. -#}
        {%- for table in tables if parsed.unique_id in table.depends_on.nodes and built(table.name) is not none -%}
            {%- do signs.append(table) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if signs -%}
        {#- The parsed events go last: they tell the next build that this one was killed on its way here. -#}
        {%- do tables.append(parsed) -%}
        {%- if tables | map(attribute='unique_id') | reject('in', selected_resources) | list -%}
            {%- do exceptions.raise_compiler_error(
                'The tables under the marts were made by an earlier version of headrace. Run a whole `dbt build`'
                ~ ' once: it makes them anew from events.'
            ) -%}
        {%- endif -%}
        {%- do log(
            'The tables under the marts were made by an earlier version of headrace: this build makes them anew'
            ~ ' from events.', info=true
        ) -%}
        {%- if built('events') is not none and not built('events').is_view -%}
            {#- Again, as a build may have been killed between the new columns and what is in them. -#}
            {%- do fill_earlier_events(['_source_event_id', '_is_reordered']) -%}
        {%- endif -%}
        {#- int_session_days has taken the place of int_device_days, touched that of the others. -#}
        {%- for name in ('int_device_days', 'touched_days', 'touched_sessions') -%}
            {%- do adapter.drop_relation(api.Relation.create(
                database=parsed.database, schema=parsed.schema, identifier=name, type='table'
            )) -%}
        {%- endfor -%}
        {%- for table in tables -%}
            {%- do adapter.drop_relation(api.Relation.create(
                database=table.database, schema=table.schema, identifier=table.alias, type='table'
            )) -%}
        {%- endfor -%}
        {%- do adapter.commit() -%}
    {%- endif -%}
{%- endmacro %}
