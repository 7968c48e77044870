{{ fact('form_abandon') }}
