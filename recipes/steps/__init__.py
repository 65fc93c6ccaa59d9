"""Stage scripts: each connects the libraries for one stage of ``run.sh``.

Every step is also a command: ``python -m recipes.steps NAME --help``. They share the layout

    DATA/wav                        data directory of all recordings
    DATA/fold<f>/                   train.utt2spk, enroll, trials
    EXP/features                    static features and VAD decisions of all recordings
    EXP/SYSTEM/ubm/fold<f>          final.npz, final.dubm, final.ubm
    EXP/SYSTEM/tv/fold<f>           final.npz, final.ie
    EXP/SYSTEM/ivectors/fold<f>     ivectors.npz
    EXP/SYSTEM/backend/fold<f>      final.npz, transform.mat, plda
    EXP/SYSTEM/scores/fold<f>       scores, trials
    EXP/report                      results.md, results.json, det.png
"""
