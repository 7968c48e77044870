{{ fact('element_seen') }}
