"""What is kept: records, transactions, exports. Knows no torch and no Streamlit."""
