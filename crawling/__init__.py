"""How getData.py fetches images: which websites are asked, how politely, and what is kept."""
