"""A notebook: each part behind "# %%" is a cell. Editors open this file as one, and so does Jupytext."""

# %%
from akool_async import AkoolClient, TranslationRequest, open_batch, open_journal

client = await AkoolClient().aopen()
journal = await open_journal("jobs.sqlite3").aopen()
batch = await open_batch(client, journal=journal, download_to="out").aopen()

# %% This cell pays. Run again, it pays nothing: the journal knows the key.
ticket = await batch.submit(
    TranslationRequest(url="https://example.com/talk.mp4", targets=["ja", "fr"], key="talk")
)

# %% Minutes later. Stop this cell whenever you like; the jobs go on.
outcomes = {language: await batch.outcome("talk", language) for language in ("ja", "fr")}
print(outcomes)

# %% Before the notebook is closed: what is at the vendor stays there, and the next run of it resumes.
await batch.aclose()
await journal.aclose()
await client.aclose()
