"""A notebook: each part after "# %%" is a cell. Jupytext and many editors open this file as a notebook."""

# %%
from akool_async import AkoolClient, TranslationRequest, open_batch, open_journal

client = await AkoolClient().aopen()
journal = await open_journal("jobs.sqlite3").aopen()
batch = await open_batch(client, journal=journal, download_to="out").aopen()

# %% This cell pays. If it is run again, it pays nothing: the journal knows the key.
ticket = await batch.submit(
    TranslationRequest(url="https://example.com/talk.mp4", targets=["ja", "fr"], key="talk")
)

# %% This takes minutes. Stop the cell whenever you like; the jobs continue at the vendor.
outcomes = {language: await batch.outcome("talk", language) for language in ("ja", "fr")}
print(outcomes)

# %% Before you close the notebook. Jobs continue at the vendor, and the next run of the notebook resumes.
await batch.aclose()
await journal.aclose()
await client.aclose()
