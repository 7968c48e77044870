{{ config(unique_key='id') }}

{{ definitions('element') }}
